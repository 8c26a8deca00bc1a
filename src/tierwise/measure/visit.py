"""One trial's turn in one block: its requests, tried again where a tier fails."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from tierwise.errors import TierFault
from tierwise.measure.arrivals import poisson_gaps_s, send_open_loop
from tierwise.measure.clock import Clock
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.sample import Failure, Sample, Timing

T = TypeVar("T")


@dataclass(frozen=True)
class Visit:
    """What a turn brought.

    Attributes:
        samples: ``plan.requests_per_visit`` of them, or none where every attempt failed.
        failures: One for each failed attempt.
        reopened: Sessions were opened anew after a failure: nothing is warm any more.
    """

    samples: tuple[Sample, ...]
    failures: tuple[Failure, ...] = ()
    reopened: bool = False


@dataclass(frozen=True)
class Visitor(Generic[T]):
    """Sends the requests of a turn.

    Attributes:
        trials: By id.
        send: Sends one input through a trial and waits for the answer.
        plan: Requests of a turn, attempts, arrivals.
        recover: Called after a failure; returns whether sessions were opened anew.
        clock: Where time comes from.
        pool: Runs the requests of an open loop.
        origin_s: The moment of ``clock`` that samples count from.
        energy: Joules that the machine used since its last call; ``None``: it does not tell.
    """

    trials: Mapping[str, T]
    send: Callable[[T, int], Timing]
    plan: MeasurePlan
    recover: Callable[[T, TierFault], bool]
    clock: Clock
    pool: Executor | None
    origin_s: float
    energy: Callable[[], float | None] = lambda: None

    def visit(self, name: str, block: int, input_index: int) -> Visit:
        """Send until one attempt is answered in full, or all have failed."""
        failures: list[Failure] = []
        for attempt in range(1, self.plan.attempts + 1):
            try:
                samples = self._send_all(name, block, input_index)
            except TierFault as fault:
                failures.append(Failure(name, block, attempt, str(fault)))
                if self.recover(self.trials[name], fault):
                    return Visit((), tuple(failures), reopened=True)
            else:
                return Visit(samples, tuple(failures))
        return Visit((), tuple(failures))

    def _send_all(self, name: str, block: int, input_index: int) -> tuple[Sample, ...]:
        trial = self.trials[name]

        def sample(
            timing: Timing, sent_s: float, *, late: bool = False, energy_j: float | None = None
        ) -> Sample:
            return Sample(
                trial=name,
                block=block,
                input_index=input_index,
                latency_s=timing.latency_s,
                parts_s=timing.parts_s,
                wire_bytes=timing.wire_bytes,
                started_at_s=sent_s - self.origin_s,
                late=late,
                energy_j=energy_j,
            )

        if self.plan.arrivals_per_s is None or self.pool is None:
            samples = []
            for _ in range(self.plan.requests_per_visit):
                self.energy()
                sent_s = self.clock.now_s()
                timing = self.send(trial, input_index)
                samples.append(sample(timing, sent_s, energy_j=self.energy()))
            return tuple(samples)
        # Warm-up's blocks are negative; a seed can't be. Every trial of a block gets the same
        # arrivals: they are part of what the block holds equal.
        seed = (self.plan.seed_arrivals, int(block < 0), abs(block))
        gaps_s = poisson_gaps_s(self.plan.arrivals_per_s, self.plan.requests_per_visit, seed)
        arrivals = send_open_loop(
            lambda: self.send(trial, input_index), gaps_s, self.clock, self.pool
        )
        return tuple(
            sample(arrival.timing, arrival.sent_s, late=arrival.late) for arrival in arrivals
        )
