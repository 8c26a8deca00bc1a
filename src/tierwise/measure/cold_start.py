"""Cold start: what the first user waits for. Its own figure, never part of a latency."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tierwise.errors import TooFewSamples
from tierwise.measure.clock import Clock, SystemClock
from tierwise.measure.sample import Timing

_COMPUTE = "compute@"


@dataclass(frozen=True)
class ColdStart:
    """What a strategy takes from nothing to its first answer, and how the next request compares.

    Attributes:
        load_s: Loading the model and opening its session, each time, by tier, in seconds.
        first: The first request after that, each time.
        second: The request after the first: what of it was the start's.
    """

    load_s: Mapping[str, tuple[float, ...]]
    first: tuple[Timing, ...]
    second: tuple[Timing, ...]

    @property
    def first_s(self) -> float:
        """Median latency of the first request."""
        return float(np.median([timing.latency_s for timing in self.first]))

    @property
    def second_s(self) -> float:
        """Median latency of the second request."""
        return float(np.median([timing.latency_s for timing in self.second]))

    @property
    def total_s(self) -> float:
        """Median of loading, tier after tier, and the first answer together."""
        loads = np.sum([list(times) for times in self.load_s.values()], axis=0)
        return float(np.median(loads + [timing.latency_s for timing in self.first]))

    @property
    def penalty(self) -> float:
        """How many times as long the first request takes as the second, in the median."""
        pairs = zip(self.first, self.second, strict=True)
        return float(np.median([one.latency_s / two.latency_s for one, two in pairs]))

    def tier_s(self, tier: str) -> tuple[float, float]:
        """Medians of loading on ``tier``, and of how much longer it computes the first time.

        The second is 0 where the tier gives no account of its time.
        """
        part = f"{_COMPUTE}{tier}"
        extra = [
            one.parts_s.get(part, 0.0) - two.parts_s.get(part, 0.0)
            for one, two in zip(self.first, self.second, strict=True)
        ]
        return float(np.median(self.load_s[tier])), float(np.median(extra))


def measure_cold_start(
    unload: Callable[[], None],
    loads: Mapping[str, Callable[[], None]],
    send: Callable[[int], Timing],
    *,
    input_index: int = 0,
    repeats: int = 5,
    most_s: float = float("inf"),
    clock: Clock | None = None,
) -> ColdStart:
    """Unload, load and send twice, ``repeats`` times.

    Model files stay in the operating system's cache, and the processes run: this is the start of a
    session on a machine that has run the model before, not after a reboot.

    Args:
        unload: Closes the strategy's sessions on every tier.
        loads: What opens them, by tier, in the order in which they are opened; each returns when
            requests are answered.
        send: Sends input number ``int`` and waits for the answer.
        input_index: Which input.
        repeats: How often.
        most_s: No further repetition is begun when this much time is spent.
        clock: Where time comes from.

    Raises:
        TooFewSamples: ``repeats`` is less than 1.
        TierFault: what ``unload``, ``loads`` or ``send`` raise passes through.
    """
    if repeats < 1:
        raise TooFewSamples("A cold start (repeats)", needed=1, got=repeats)
    clock = clock or SystemClock()
    begun_s = clock.now_s()
    load_s: dict[str, list[float]] = {tier: [] for tier in loads}
    first: list[Timing] = []
    second: list[Timing] = []
    for _ in range(repeats):
        unload()
        for tier, load in loads.items():
            started_s = clock.now_s()
            load()
            load_s[tier].append(clock.now_s() - started_s)
        first.append(send(input_index))
        second.append(send(input_index))
        if clock.now_s() - begun_s >= most_s:
            break
    return ColdStart(
        {tier: tuple(times) for tier, times in load_s.items()}, tuple(first), tuple(second)
    )
