"""A request, timed: what a trial's sender returns, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tierwise.measure.machine import MachineState


@dataclass(frozen=True)
class Timing:
    """What one request took, as its sender saw it.

    Attributes:
        latency_s: From handing the request over to holding its whole answer.
        parts_s: Where the time went, by part (``"compute@edge"``), adding up to ``latency_s``.
        wire_bytes: Bytes that crossed each link, by link name.
    """

    latency_s: float
    parts_s: Mapping[str, float] = field(default_factory=dict)
    wire_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One timed request of a trial.

    Attributes:
        trial: The trial's id.
        block: Number of the block it belongs to, from 0.
        input_index: Which input it carried.
        latency_s: Seconds; under Poisson arrivals counted from the scheduled moment.
        parts_s: Where the time went, adding up to ``latency_s``. Under Poisson arrivals the part
            ``"wait@client"`` is the time between the scheduled moment and the sending.
        wire_bytes: Bytes that crossed each link, by link name.
        started_at_s: When it was sent, in seconds after the measurement's start.
        late: Whether it was sent after its scheduled moment (Poisson arrivals only).
        energy_j: What the machine's CPU packages used meanwhile, in joules; ``None`` where it has
            no counters, and under Poisson arrivals, where requests overlap.
    """

    trial: str
    block: int
    input_index: int
    latency_s: float
    parts_s: Mapping[str, float]
    wire_bytes: Mapping[str, int]
    started_at_s: float
    late: bool = False
    energy_j: float | None = None


@dataclass(frozen=True)
class Failure:
    """A request that got no answer. It costs the trial its block's samples, never a latency.

    Attributes:
        trial: The trial's id.
        block: Number of the block; negative in warm-up.
        attempt: 1 for the first try of this trial in this block.
        message: What the tier's fault said.
    """

    trial: str
    block: int
    attempt: int
    message: str


@dataclass(frozen=True)
class Block:
    """One pass over all trials of a condition with the same input, in random order.

    Attributes:
        index: From 0.
        input_index: The input that every request of the block carried.
        order: Trial ids in the order in which they ran.
        samples: In the order in which they were sent. A trial whose every attempt failed has none.
        failures: Requests that failed, retried ones included.
        started_at_s: Seconds after the measurement's start.
        duration_s: How long the block took.
        machine: The machine's condition over the block, where it can be read.
    """

    index: int
    input_index: int
    order: tuple[str, ...]
    samples: tuple[Sample, ...]
    failures: tuple[Failure, ...] = ()
    started_at_s: float = 0.0
    duration_s: float = 0.0
    machine: MachineState | None = None
