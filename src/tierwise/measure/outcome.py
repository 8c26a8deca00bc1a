"""What came of a measurement: why it stopped, and how sure its numbers are."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from tierwise.measure.warm_up import WarmUp
from tierwise.stats.median_interval import Interval


class StopReason(Enum):
    """Why no more blocks were measured; the value is what a person reads."""

    NARROW = "every interval of the median is within the target width"
    TOLD_APART = "every contender is slower than the best, or as fast as it"
    NOT_WORTH_IT = "more blocks are not expected to tell apart the contenders that are left"
    BUDGET = "the time budget is spent"
    MOST_BLOCKS = "all that the study asks for are measured"
    NO_TRIAL_LEFT = "every trial has failed too often"


@dataclass(frozen=True)
class MeasureOutcome:
    """What came of a measurement.

    Attributes:
        reason: Why it stopped.
        blocks: Finished blocks, those of earlier runs included.
        warm_up: What was discarded in this run.
        intervals: Of every trial's median, by trial id, in seconds; a trial with too few samples
            has none.
        abandoned: Trials that were not tried any more, with the last fault.
        requests: Requests answered in this run's blocks.
        failures: Requests of this run that failed, warm-up included.
        late: Requests of this run sent after their scheduled moment (Poisson arrivals).
        spent_s: Time of this run, and of the blocks of earlier ones.
    """

    reason: StopReason
    blocks: int
    warm_up: WarmUp
    intervals: Mapping[str, Interval]
    abandoned: Mapping[str, str]
    requests: int
    failures: int
    late: int
    spent_s: float

    @property
    def late_share(self) -> float:
        """Share of requests sent after their scheduled moment."""
        return self.late / self.requests if self.requests else 0.0
