"""Writes a deployment's files into a directory."""

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tierwise.deploy.bundle import PORT, Bundle, choose, make_bundle
from tierwise.deploy.manifests import TOKEN_SECRET, compose, image, kubernetes, safe
from tierwise.disk import writing
from tierwise.errors import UserError
from tierwise.recommend.recommendation import Recommendation
from tierwise.store.artefacts import Artefacts
from tierwise.units import format_bytes, format_duration

TARGETS = ("compose", "kubernetes", "files")

_DOCKERFILE = """\
FROM python:3.12-slim
RUN pip install --no-cache-dir tierwise=={version}
COPY segments /srv/segments
COPY stage.json /srv/stage.json
USER 65534
EXPOSE {port}
"""


def write_deployment(
    recommendation: Recommendation,
    artefacts: Artefacts,
    out: Path,
    *,
    to: str = "compose",
    strategy_id: str | None = None,
    preprocess: Mapping[str, Any] | None = None,
    urls: Mapping[str, str] | None = None,
) -> tuple[Path, ...]:
    """Write the files that deploy exactly what was measured.

    Args:
        recommendation: What to deploy, and why.
        artefacts: The study's files.
        out: A directory that does not exist or is empty.
        to: One of :data:`TARGETS`; ``files`` has no manifest, for machines of your own.
        strategy_id: Another strategy than the recommended one.
        preprocess: The study file's section, where users send encoded images.
        urls: Where each tier is reached; by default the service's name on the usual port, or the
            address that the study measured.

    Returns:
        The files written, the one to read first.

    Raises:
        UserError: The target is not known, ``out`` holds something, or an address is missing.
        RequirementNotMet: Nothing is recommended.
        NotAStudyError: A file of the study is missing or was changed.
        DiskFull: No space is left.
    """
    if to not in TARGETS:
        raise UserError(
            f"There is no deployment to {to!r}.", hint=f"Choose --to {', '.join(TARGETS)}."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty.", hint="Name a new directory with -o.", path=str(out))
    assessment = choose(recommendation, strategy_id)
    addresses = _addresses(recommendation, assessment.trial.strategy.tiers, to, urls or {})
    bundle = make_bundle(
        recommendation, assessment, artefacts, preprocess=preprocess, urls=addresses
    )
    try:
        with writing(out):
            return _write(bundle, out, to)
    except BaseException:
        # Half a deployment would be taken for one, and the folder refused for not being empty.
        shutil.rmtree(out, ignore_errors=True)
        raise


def _addresses(
    recommendation: Recommendation, tiers: Sequence[str], to: str, urls: Mapping[str, str]
) -> dict[str, str]:
    """Where each tier but the first is reached."""
    unknown = sorted(set(urls) - set(tiers))
    if unknown:
        raise UserError(
            f"The strategy does not use the tier {unknown[0]!r}.",
            hint=f"It uses {', '.join(tiers)}.",
        )
    found = {}
    for name in tiers[1:]:
        known = urls.get(name) or recommendation.results.topology.tier(name).url
        if known is None and to == "files":
            raise UserError(
                f"Where will the tier {name!r} be reached?",
                hint=f"Write --url {name}=http://HOST:{PORT}.",
                tier=name,
            )
        found[name] = known if known and to == "files" else f"http://{safe(name)}:{PORT}"
    return found


def _write(bundle: Bundle, out: Path, to: str) -> tuple[Path, ...]:
    written: list[Path] = []

    def put(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)

    put(out / "README.md", _readme(bundle, to))
    for tier in bundle.tiers:
        folder = out / tier.tier.name
        # A secret never goes into a file that is mailed and committed: agents add their own token.
        stage = tier.stage.model_dump(mode="json", exclude={"next": {"token"}})
        put(folder / "stage.json", json.dumps(stage, indent=2) + "\n")
        segment = folder / "segments" / tier.segment.name
        segment.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tier.segment, segment)
        written.append(segment)
        if to != "files":
            text = _DOCKERFILE.format(version=version("tierwise"), port=PORT)
            put(folder / "Dockerfile", text)
    if to == "compose":
        put(out / "compose.yaml", _yaml([compose(bundle)]))
    elif to == "kubernetes":
        put(out / "kubernetes.yaml", _yaml(kubernetes(bundle)))
    sums = [f"{t.stage.artifact}  {t.tier.name}/segments/{t.segment.name}\n" for t in bundle.tiers]
    put(out / "SHA256SUMS", "".join(sums))
    return tuple(written)


class _PlainDumper(yaml.SafeDumper):
    """YAML without anchors, which people and linters dislike in manifests."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _yaml(documents: list[dict[str, Any]]) -> str:
    return yaml.dump_all(
        documents, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100
    )


def _readme(bundle: Bundle, to: str) -> str:
    latency = bundle.assessment.latency
    assert latency is not None
    tiers = []
    for tier in bundle.tiers:
        cpus = "all" if tier.tier.cpus is None else f"{tier.tier.cpus:g}"
        memory = "not limited" if tier.memory_bytes is None else format_bytes(tier.memory_bytes)
        tiers.append(
            f"| {tier.tier.name} | {cpus} | {memory} | {tier.tier.threads} |"
            f" `{tier.stage.artifact[:12]}` |"
        )
    return _README.format(
        id=bundle.assessment.id,
        verdict=bundle.verdict,
        median=format_duration(latency.p50_s),
        n=latency.n,
        condition=bundle.assessment.trial.condition.id or "no links",
        tiers="\n".join(tiers),
        crossing=_crossing(bundle),
        start=_start(bundle, to),
        request=_request(bundle),
        model=bundle.tiers[0].stage.name,
        port=PORT,
    )


def _crossing(bundle: Bundle) -> str:
    """How tensors cross between tiers, where it is not as they are."""
    lines = [
        f"- from {near.tier.name} to {far.tier.name}: `{name}` as `{encoding}`\n"
        for near, far in pairwise(bundle.tiers)
        for name, encoding in near.stage.encodings.items()
    ]
    if not lines:
        return ""
    return (
        "Tensors that cross encoded (in each `stage.json`; Tierwise's agents decode them):\n\n"
        + "".join(lines)
        + "\n"
    )


def _request(bundle: Bundle) -> str:
    """A program that sends one request: an encoded image, or the model's tensors."""
    first = bundle.tiers[0].stage
    load, payload = "Path", 'Path("photo.png").read_bytes()'
    if first.preprocess is None:
        load, payload = "Path\n\nimport numpy as np", 'dict(np.load("inputs.npz"))'
    return (
        f"from pathlib import {load}\n\n"
        "from tierwise.serving.client import AgentClient\n\n"
        f'with AgentClient("http://HOST:{PORT}", token=Path("token").read_text()) as agent:\n'
        f'    print(agent.infer("{first.name}", {payload}).outputs)'
    )


def _start(bundle: Bundle, to: str) -> str:
    first = "head -c 32 /dev/urandom | base64 | tr -d '\\n' > token && chmod 644 token"
    if to == "compose":
        return f"{first}\ndocker compose up --build --wait"
    if to == "kubernetes":
        builds = [f"docker build -t {image(bundle, t)} {t.tier.name}" for t in bundle.tiers]
        nodes = [f"kubectl label node NODE tierwise.io/tier={t.tier.name}" for t in bundle.tiers]
        secret = f"kubectl create secret generic {TOKEN_SECRET} --from-file=token=token"
        return "\n".join([*builds, first, secret, *nodes, "kubectl apply -f kubernetes.yaml"])
    commands = [
        f"tierwise serve --tier {tier.tier.name} --listen 0.0.0.0:{PORT} --token-file token"
        f" --cache {tier.tier.name}/segments --stage {tier.tier.name}/stage.json"
        f" --threads {tier.tier.threads}   # on the {tier.tier.name} machine"
        for tier in reversed(bundle.tiers)
    ]
    return "\n".join([first, *commands])


_README = """\
# {id}

{verdict}

Measured: {median} at the median of {n} requests, with {condition}.

| tier | CPUs | memory | threads | segment |
|---|---|---|---|---|
{tiers}

{crossing}CPUs and threads are those of the measurement; memory is the measured peak and a
quarter. The segments are the very files that were measured: `sha256sum -c SHA256SUMS`.

## Start

```sh
{start}
```

Requests go to the first tier as Open Inference Protocol (KServe V2):
`POST http://HOST:{port}/v2/models/{model}/infer` with `Authorization: Bearer TOKEN`. From Python:

```python
{request}
```

A container's CPU limit works in slices of 100 ms, which do not slow a request shorter than its
share; the study's tiers were held to theirs all the time. On a machine with more cores than the
tier had, expect requests to be faster, not slower.
"""
