"""Cold start: what the first user waits for. Its own figure, never part of a latency."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tierwise.errors import TooFewSamples
from tierwise.measure.clock import Clock, SystemClock
from tierwise.measure.sample import Timing

_COMPUTE = "compute@"


@dataclass(frozen=True)
class ColdStart:
    """What a strategy takes from nothing to its first answer, and how the next request compares.

    Every figure is of one start, the middle one of all (of two, the quicker), so that its parts
    add up to it.

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
        """Latency of the first request."""
        return self.first[self._middle].latency_s

    @property
    def second_s(self) -> float:
        """Latency of the second request."""
        return self.second[self._middle].latency_s

    @property
    def total_s(self) -> float:
        """Loading, tier after tier, and the first answer together."""
        return self._totals_s[self._middle]

    def tier_s(self, tier: str) -> tuple[float, float]:
        """Loading on ``tier``, and how much longer it computes the first time.

        The second is 0 where the tier gives no account of its time.
        """
        part = f"{_COMPUTE}{tier}"
        first, second = self.first[self._middle], self.second[self._middle]
        extra_s = first.parts_s.get(part, 0.0) - second.parts_s.get(part, 0.0)
        return self.load_s[tier][self._middle], extra_s

    @property
    def _totals_s(self) -> list[float]:
        loads = zip(*self.load_s.values(), strict=True)
        return [sum(load) + one.latency_s for load, one in zip(loads, self.first, strict=True)]

    @property
    def _middle(self) -> int:
        """Which of the starts took the median time."""
        totals_s = self._totals_s
        return sorted(range(len(totals_s)), key=totals_s.__getitem__)[(len(totals_s) - 1) // 2]


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
