"""Tier, link and topology as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from tierwise.errors import UserError
from tierwise.units import format_bandwidth, format_duration

CPU_ONLY = ("CPUExecutionProvider",)


@dataclass(frozen=True)
class TlsFiles:
    """What a client trusts and shows over TLS: PEM files of this machine.

    Attributes:
        ca: Authority of the server's certificate; ``None``: the system's.
        cert: Certificate that the client shows (mutual TLS), or ``None``.
        key: Its private key; ``None``: in the same file.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


SYSTEM_TLS = TlsFiles()
"""The system's authorities, and no certificate to show."""


@dataclass(frozen=True)
class Tier:
    """A place that computes.

    Attributes:
        name: Such as ``"edge"``.
        cpus: CPU share in cores (0.5: half a core), or ``None`` for unlimited.
        memory_bytes: The most its process may hold, or ``None`` for unlimited.
        threads: Intra-op threads of an inference session.
        providers: ONNX Runtime's execution providers there, the preferred one first.
        url: Where a running agent listens (a real tier), or ``None`` (emulated here).
        token: What a real tier's agent asks for; never printed, never stored.
        tls: How this machine connects to a real tier over ``https``; never stored.
    """

    name: str
    cpus: float | None = None
    memory_bytes: int | None = None
    threads: int = 1
    providers: tuple[str, ...] = CPU_ONLY
    url: str | None = None
    token: str | None = field(default=None, repr=False, compare=False)
    tls: TlsFiles = field(default=SYSTEM_TLS, repr=False, compare=False)

    @property
    def emulated(self) -> bool:
        """Whether this machine stands for the tier."""
        return self.url is None


@dataclass(frozen=True)
class LinkShape:
    """What a link does to traffic, the same in both directions.

    Attributes:
        bandwidth_bit_per_s: Rate of each direction, or ``None`` for unlimited.
        rtt_s: Round-trip time that the link adds, half of it each way.
        jitter_s: Standard deviation of the one-way delay (``netem`` only).
        loss: Share of packets lost, 0 to 1 (``netem`` only).
        real: Whether the link ends at a real machine, where nothing is known of what is not set.
    """

    bandwidth_bit_per_s: float | None = None
    rtt_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    real: bool = field(default=False, compare=False)

    @property
    def uneven(self) -> bool:
        """Whether it asks for jitter or loss."""
        return self.jitter_s > 0 or self.loss > 0

    def __str__(self) -> str:
        return (
            self.rate_text
            if self.rtt_s == 0
            else f"{self.rate_text}, rtt {format_duration(self.rtt_s)}"
        )

    @property
    def rate_text(self) -> str:
        """The bandwidth in words."""
        if self.bandwidth_bit_per_s is not None:
            return format_bandwidth(self.bandwidth_bit_per_s)
        return "real network" if self.real else "unlimited"


@dataclass(frozen=True)
class Link:
    """The network between two neighbouring tiers, nearer one first."""

    near: str
    far: str

    @property
    def name(self) -> str:
        """``"edge-cloud"``."""
        return f"{self.near}-{self.far}"


@dataclass(frozen=True)
class NetworkCondition:
    """The shape of every link of a topology, by link name."""

    shapes: Mapping[str, LinkShape]

    @property
    def id(self) -> str:
        """Stable, readable: ``"mobile-edge=200 Mbit/s, rtt 5 ms; edge-cloud=10 Mbit/s"``."""
        return "; ".join(f"{name}={shape}" for name, shape in self.shapes.items())

    def __hash__(self) -> int:
        return hash(tuple(self.shapes.items()))

    def at_rate(self, link: str, bandwidth_bit_per_s: float | None) -> "NetworkCondition":
        """The same with another bandwidth of ``link``; ``None``: unlimited."""
        shape = replace(self.shapes[link], bandwidth_bit_per_s=bandwidth_bit_per_s)
        return NetworkCondition({**self.shapes, link: shape})


@dataclass(frozen=True)
class Topology:
    """A chain of tiers, nearest to the user first; every request starts at the first."""

    tiers: tuple[Tier, ...]

    @property
    def links(self) -> tuple[Link, ...]:
        """The links between neighbours, in order."""
        return tuple(Link(a.name, b.name) for a, b in pairwise(self.tiers))

    def condition(self, shapes: Mapping[str, LinkShape]) -> NetworkCondition:
        """The network of these links; those that end at a real machine are marked as real."""
        real = {
            link.name
            for link in self.links
            if not (self.tier(link.near).emulated and self.tier(link.far).emulated)
        }
        return NetworkCondition(
            {name: replace(shape, real=name in real) for name, shape in shapes.items()}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The tiers' names, in order."""
        return tuple(tier.name for tier in self.tiers)

    def tier(self, name: str) -> Tier:
        """The tier called ``name``; raises :class:`UserError` naming those that exist."""
        for tier in self.tiers:
            if tier.name == name:
                return tier
        raise UserError(
            f"There is no tier {name!r}.", hint=f"The tiers are {', '.join(self.names)}.", tier=name
        )

    def path(self, source: str, target: str) -> tuple[Link, ...]:
        """The links that traffic from ``source`` to ``target`` crosses, in order."""
        start, stop = (
            self.names.index(self.tier(source).name),
            self.names.index(self.tier(target).name),
        )
        crossed = self.links[min(start, stop) : max(start, stop)]
        return crossed if start <= stop else crossed[::-1]
