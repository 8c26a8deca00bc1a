"""How a condition was measured: by which plan, in which blocks, and why it stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tierwise.measure.machine import MachineState


@dataclass(frozen=True)
class BlockRecord:
    """One block, without its samples.

    Attributes:
        number: From 0.
        input_index: The input that it carried.
        requests: That were answered.
        late: Of them, how many were sent after the moment they were due (Poisson arrivals).
        failures: Requests that failed, whether or not another try was answered.
        duration_s: How long it took.
        machine: The machine's condition meanwhile, where it can be read.
        disturbances: Why its numbers should not be trusted, in words; empty: nothing is known.
    """

    number: int
    input_index: int
    requests: int
    late: int
    failures: int
    duration_s: float
    machine: MachineState | None
    disturbances: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """How a condition was measured.

    Attributes:
        blocks: In order.
        stopped: Why no more of them were measured, in words; empty while they still are.
        plan: The fields of the :class:`~tierwise.measure.plan.MeasurePlan`; empty where unknown.
        warm_up_requests: Answered and thrown away, in the last run that measured here.
        unsettled: Ids of the strategies that were still drifting after that warm-up.
    """

    blocks: tuple[BlockRecord, ...]
    stopped: str = ""
    plan: Mapping[str, object] = field(default_factory=dict)
    warm_up_requests: int = 0
    unsettled: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        """Requests that were answered and timed."""
        return sum(block.requests for block in self.blocks)

    @property
    def failures(self) -> int:
        """Requests that failed."""
        return sum(block.failures for block in self.blocks)

    @property
    def late_share(self) -> float | None:
        """Share of the requests sent after they were due; ``None`` where none was due."""
        if self.plan.get("arrivals_per_s") is None or not self.requests:
            return None
        return sum(block.late for block in self.blocks) / self.requests

    @property
    def disturbed(self) -> tuple[BlockRecord, ...]:
        """The blocks whose numbers should not be trusted."""
        return tuple(block for block in self.blocks if block.disturbances)
