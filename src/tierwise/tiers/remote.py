"""Real machines as tiers: their agents run already, started by a person."""

import socket
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import urlsplit

from tierwise.errors import EnvironmentFault, UserError
from tierwise.tiers.dialling import TIMEOUT_S, dial
from tierwise.tiers.running import Probe
from tierwise.tiers.topology import LinkShape, NetworkCondition, Topology

_ANSWER_S = 2.0  # heuristic: four times the round trip of a satellite


def connect(topology: Topology) -> "RemoteTopology":
    """The topology of real tiers; checks that each accepts connections.

    Raises:
        UserError: a tier has no ``url``.
        EnvironmentFault: a tier doesn't answer (``.tier``).
    """
    running = RemoteTopology(topology)
    for tier in topology.tiers:
        if tier.url is None:
            raise UserError(
                f"Tier {tier.name} has no url, so it is emulated.",
                hint="Use tierwise.tiers.emulated.start, which takes both kinds.",
                tier=tier.name,
            )
        if not running.alive(tier.name):
            raise EnvironmentFault(
                f"Tier {tier.name} does not answer at {tier.url}.",
                hint=f"On that machine: `tierwise serve --tier {tier.name} --listen HOST:PORT`.",
                tier=tier.name,
            )
    return running


class RemoteTopology:
    """Tiers that run elsewhere: nothing is emulated, shaped, started or stopped."""

    kept_awake = 0

    def __init__(self, topology: Topology) -> None:
        """See :func:`connect`."""
        self.topology = topology

    @property
    def record(self) -> Mapping[str, str]:
        """See :class:`RunningTopology`."""
        said = {"links": "real, not shaped"}
        for name in self.topology.names:
            said[f"cpu@{name}"] = said[f"memory@{name}"] = "a real machine"
        return MappingProxyType(said)

    def url(self, source: str, target: str) -> str:
        """See :class:`RunningTopology`: the same from everywhere."""
        self.topology.tier(source)
        return (self.topology.tier(target).url or "").rstrip("/")

    def dial(
        self, source: str, host: str, port: int, timeout_s: float = TIMEOUT_S
    ) -> socket.socket:
        """A connection made here, whatever ``source``: this machine stands beside the first."""
        self.topology.tier(source)
        return dial(host, port, timeout_s)

    def shape(self, condition: NetworkCondition | None) -> None:
        """Real links are what they are: only ``None`` and unlimited shapes are accepted."""
        for name, shape in (condition.shapes if condition else {}).items():
            check_real_link(name, shape)

    def probe(self, condition: NetworkCondition) -> tuple[Probe, ...]:  # noqa: ARG002
        """Nothing was asked of real tiers, so there is nothing to compare."""
        return ()

    def alive(self, tier: str) -> bool:
        """See :class:`RunningTopology`."""
        return answers(self.topology.tier(tier).url or "")

    def restart(self, tier: str) -> None:
        """Only a person can."""
        raise EnvironmentFault(
            f"Tier {tier} is a real machine: its agent must be started there.",
            hint=f"On that machine: `tierwise serve --tier {tier} --listen HOST:PORT`.",
            tier=tier,
        )

    def peak_memory_bytes(self, tier: str) -> int | None:  # noqa: ARG002
        """Not known from here."""
        return None

    def oom_killed(self, tier: str) -> bool:  # noqa: ARG002
        """Not known from here."""
        return False

    def dropped_packets(self) -> dict[str, int]:
        """Not known from here."""
        return {}

    def cut(self, link: str) -> None:
        """Not for real links."""
        raise EnvironmentFault(f"The real link {link} can't be cut from here.")

    def mend(self, link: str) -> None:
        """Nothing to mend: nothing was cut."""

    def close(self) -> None:
        """Leave everything as it is: nothing was started here."""

    def __enter__(self) -> Self:
        """Nothing to set up."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to remove."""


def check_real_link(name: str, shape: LinkShape) -> None:
    """Raise :class:`UserError` if anything is asked of a link that is what it is."""
    if shape.bandwidth_bit_per_s is not None or shape.rtt_s or shape.jitter_s or shape.loss:
        raise UserError(
            f"Link {name} is real and can't be shaped to {shape}.",
            hint="Leave bandwidth and rtt out for a link that ends at a real tier.",
            link=name,
        )


def answers(url: str) -> bool:
    """Whether someone accepts connections at ``url``."""
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), _ANSWER_S).close()
    except OSError:
        return False
    return True
