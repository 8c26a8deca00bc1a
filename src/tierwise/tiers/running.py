"""What the rest of Tierwise may ask of tiers that run, emulated here or real elsewhere."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from tierwise.tiers.dialling import TIMEOUT_S
from tierwise.tiers.topology import NetworkCondition, Topology

Quantity = Literal["cpu factor", "bandwidth_bit_per_s", "rtt_s"]


@dataclass(frozen=True)
class Probe:
    """What an emulated tier or link achieved against what was asked of it.

    Attributes:
        subject: Tier or link name.
        quantity: ``"cpu factor"`` (speed of native work inside the limit, in as many threads as it
            has cores, relative to one core outside), ``"bandwidth_bit_per_s"`` (TCP payload) or
            ``"rtt_s"``.
        asked: What the study file says.
        achieved: What the probe measured.
        backend: What ran.
    """

    subject: str
    quantity: Quantity
    asked: float
    achieved: float
    backend: str

    @property
    def relative_error(self) -> float:
        """How far off, as a share of what was asked (of 1 ms, where nothing was asked)."""
        return abs(self.achieved - self.asked) / (self.asked or 1e-3)


class RunningTopology(Protocol):
    """Tiers whose agents answer, and the links between them.

    All methods may be called from any thread. A tier that died raises nothing by itself: ask
    :meth:`alive`. After :meth:`close` nothing may be called but :meth:`close` again.
    """

    topology: Topology
    kept_awake: int
    """Cores that are kept awake, each by a process that counts in this machine's load average."""

    @property
    def record(self) -> Mapping[str, str]:
        """What ran: ``"links"``, ``"cpu@TIER"`` and ``"memory@TIER"`` to the back end's name."""

    def url(self, source: str, target: str) -> str:
        """Base URL at which ``target``'s agent is reached from ``source``."""

    def dial(
        self, source: str, host: str, port: int, timeout_s: float = TIMEOUT_S
    ) -> socket.socket:
        """A connected TCP socket, as it would be made at ``source``; the caller closes it."""

    def shape(self, condition: NetworkCondition | None) -> None:
        """Reshape all links in place; open connections survive. ``None``: unlimited."""

    def probe(self, condition: NetworkCondition) -> tuple[Probe, ...]:
        """Shape the links as ``condition`` says and measure every emulated tier and link."""

    def alive(self, tier: str) -> bool:
        """Whether the tier's agent runs (a real tier: whether it accepts connections)."""

    def restart(self, tier: str) -> None:
        """Start a dead agent again (a live one is stopped first); its URLs stay the same."""

    def peak_memory_bytes(self, tier: str) -> int | None:
        """Most memory that the agent held since it started; ``None`` where it can't be known."""

    def oom_killed(self, tier: str) -> bool:
        """Whether the memory limit killed the agent since it was last (re)started."""

    def dropped_packets(self) -> Mapping[str, int]:
        """Packets that each emulated link lost so far because this machine was too busy for it."""

    def cut(self, link: str) -> None:
        """Let nothing through the link until :meth:`mend`; connections are not told."""

    def mend(self, link: str) -> None:
        """End a :meth:`cut`."""

    def close(self) -> None:
        """Stop the agents that were started here and remove everything made for them."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
