"""A deployment as Docker Compose and as Kubernetes manifests."""

from typing import Any

from tierwise.deploy.bundle import PORT, Bundle, TierBundle

TOKEN_SECRET = "tierwise-token"  # noqa: S105 - the name of a secret, not a secret
_TOKEN_FILE = "/run/secrets/tierwise-token"  # noqa: S105 - where it is mounted
_PROBE = "import urllib.request as r; r.urlopen('http://127.0.0.1:%d/v2/health/ready', timeout=2)"


def serve_command(bundle: TierBundle) -> list[str]:
    """What a tier's container runs."""
    return [
        "tierwise", "serve", "--tier", bundle.tier.name, "--listen", f"0.0.0.0:{PORT}",
        "--token-file", _TOKEN_FILE, "--cache", "/srv/segments", "--stage", "/srv/stage.json",
        "--threads", str(bundle.tier.threads),
    ]  # fmt: skip


def image(bundle: Bundle, tier: TierBundle) -> str:
    """Name and tag of a tier's image; the tag changes with the segment."""
    return f"{bundle.name}-{safe(tier.tier.name)}:{tier.stage.artifact[:12]}"


def safe(tier_name: str) -> str:
    """A tier's name in a host name: Compose and Kubernetes take no underscore there."""
    return tier_name.replace("_", "-")


def compose(bundle: Bundle) -> dict[str, Any]:
    """A Compose file; only the first tier is published."""
    services = {}
    for position, tier in enumerate(bundle.tiers):
        service: dict[str, Any] = {
            "build": {"context": f"./{tier.tier.name}"},
            "image": image(bundle, tier),
            "command": serve_command(tier),
            "secrets": [TOKEN_SECRET],
            "restart": "unless-stopped",
            "read_only": True,
            "healthcheck": {
                "test": ["CMD", "python", "-c", _PROBE % PORT],
                "interval": "10s",
                "timeout": "3s",
                "start_period": "60s",
            },
            "labels": _labels(bundle, tier),
        }
        if position == 0:
            service["ports"] = [f"{PORT}:{PORT}"]
        if tier.tier.cpus is not None:
            service["cpus"] = tier.tier.cpus
        if tier.memory_bytes is not None:
            service["mem_limit"] = tier.memory_bytes
        if position + 1 < len(bundle.tiers):
            following = safe(bundle.tiers[position + 1].tier.name)
            service["depends_on"] = {following: {"condition": "service_healthy"}}
        services[safe(tier.tier.name)] = service
    return {
        "name": bundle.name,
        "services": services,
        "secrets": {TOKEN_SECRET: {"file": "./token"}},
    }


def kubernetes(bundle: Bundle) -> list[dict[str, Any]]:
    """A Deployment and a Service for every tier; nodes are chosen by ``tierwise.io/tier``."""
    return [
        manifest
        for tier in bundle.tiers
        for manifest in (_deployment(bundle, tier), _service(bundle, tier))
    ]


def _deployment(bundle: Bundle, tier: TierBundle) -> dict[str, Any]:
    selector = _selector(bundle, tier)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": _object_name(bundle, tier),
            "labels": selector,
            "annotations": _labels(bundle, tier),
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": selector},
                "spec": {
                    "nodeSelector": {"tierwise.io/tier": tier.tier.name},
                    "containers": [_container(bundle, tier)],
                    "volumes": [{"name": "token", "secret": {"secretName": TOKEN_SECRET}}],
                },
            },
        },
    }


def _container(bundle: Bundle, tier: TierBundle) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/v2/health/ready", "port": PORT}}
    container: dict[str, Any] = {
        "name": "tierwise",
        "image": image(bundle, tier),
        "args": serve_command(tier),
        "ports": [{"containerPort": PORT}],
        "readinessProbe": probe | {"periodSeconds": 5},
        "startupProbe": probe | {"periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {
            "httpGet": {"path": "/v2/health/live", "port": PORT},
            "periodSeconds": 10,
        },
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {
                "name": "token",
                "mountPath": _TOKEN_FILE,
                "subPath": "token",
                "readOnly": True,
            }
        ],
    }
    limits: dict[str, str] = {}
    if tier.tier.cpus is not None:
        limits["cpu"] = f"{round(tier.tier.cpus * 1000)}m"
    if tier.memory_bytes is not None:
        limits["memory"] = str(tier.memory_bytes)
    if limits:
        # As much asked for as allowed: a share that others may take was not what was measured.
        container["resources"] = {"requests": dict(limits), "limits": dict(limits)}
    return container


def _service(bundle: Bundle, tier: TierBundle) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": safe(tier.tier.name), "labels": _selector(bundle, tier)},
        "spec": {
            "selector": _selector(bundle, tier),
            "ports": [{"port": PORT, "targetPort": PORT}],
        },
    }


def _object_name(bundle: Bundle, tier: TierBundle) -> str:
    return f"{bundle.name}-{safe(tier.tier.name)}"


def _selector(bundle: Bundle, tier: TierBundle) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": bundle.name,
        "app.kubernetes.io/component": tier.tier.name,
        "app.kubernetes.io/managed-by": "tierwise",
    }


def _labels(bundle: Bundle, tier: TierBundle) -> dict[str, str]:
    return {
        "tierwise.io/strategy": bundle.assessment.id,
        "tierwise.io/segment-sha256": tier.stage.artifact,
    }
