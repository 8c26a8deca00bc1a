"""Open-loop Poisson arrivals: requests come when they come, not when the last one is answered.

A closed loop waits for an answer before it sends again, so a slow server is sent less and its
latency looks better than what users see (coordinated omission). Here every request has a scheduled
moment, and its latency counts from that moment whether or not it could be sent then.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from tierwise.measure.clock import Clock
from tierwise.measure.sample import Timing

# heuristic: sleeping on Linux overshoots by about 0.06 ms (its default timer slack is 50 us);
# what is later than this was held up by the machine or by the sender.
LATE_S = 0.001
WAIT_PART = "wait@client"


@dataclass(frozen=True)
class Arrival:
    """One request of an open loop.

    Attributes:
        timing: Latency from the scheduled moment; its part ``"wait@client"`` is the time between
            that moment and the sending.
        scheduled_s: When it was due, by the clock.
        sent_s: When it was sent.
    """

    timing: Timing
    scheduled_s: float
    sent_s: float

    @property
    def late(self) -> bool:
        """Whether it was sent more than :data:`LATE_S` after its moment."""
        return self.sent_s - self.scheduled_s > LATE_S


def poisson_gaps_s(rate_per_s: float, n: int, seed: Sequence[int]) -> list[float]:
    """``n`` independent exponential gaps between arrivals with ``rate_per_s`` on average."""
    return [float(gap) for gap in np.random.default_rng(seed).exponential(1.0 / rate_per_s, n)]


def send_open_loop(
    send: Callable[[], Timing], gaps_s: Sequence[float], clock: Clock, pool: Executor
) -> list[Arrival]:
    """Send one request at the end of each of ``gaps_s`` and wait for all answers.

    Args:
        send: Sends one request and waits for its answer; called from the threads of ``pool``.
        gaps_s: Seconds between an arrival and the next; the first counts from now.
        clock: Shared with ``send``.
        pool: Runs the requests. As many must fit as can be under way at once; those that do not
            fit wait, which is part of their latency.

    Raises:
        TierFault: what ``send`` raised first, after all requests have ended.
    """

    def one(scheduled_s: float) -> Arrival:
        sent_s = clock.now_s()
        timing = send()
        wait_s = max(0.0, sent_s - scheduled_s)
        counted = replace(
            timing,
            latency_s=timing.latency_s + wait_s,
            parts_s={**timing.parts_s, WAIT_PART: wait_s},
        )
        return Arrival(counted, scheduled_s=scheduled_s, sent_s=sent_s)

    moment_s = clock.now_s()
    under_way = []
    for gap_s in gaps_s:
        moment_s += gap_s
        clock.sleep_until_s(moment_s)
        under_way.append(pool.submit(one, moment_s))
    faults = [future.exception() for future in under_way]
    for fault in faults:
        if fault is not None:
            raise fault
    return [future.result() for future in under_way]
