"""How fast a candidate is against fp32, in the places that count."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from tierwise.operators.quantize.calibrate import Feeds
from tierwise.runtime.instructions import cpu_instructions
from tierwise.runtime.session import Session, SessionOptions, open_session

# heuristic: what disturbs a request only ever makes it slower, so the lower quartile of some ten
# tells what undisturbed ones take; slow models stop at the fewest.
_FEWEST_PAIRS = 9
_MOST_PAIRS = 41
_WARM_UPS = 2
_SECONDS_PER_CANDIDATE = 1.5
# heuristic: gains below this are within what timing scatters by; fp32 is the safer choice then.
MIN_GAIN = 0.03


class LatencyMeter(Protocol):
    """Compares latencies in one place where the variant may run."""

    @property
    def instructions(self) -> str:
        """What the place's CPU has for 8-bit integers, in words; ``""`` where it isn't known."""

    def ratio(self, candidate: bytes, baseline: bytes) -> float:
        """Latency of ``candidate`` in units of ``baseline``'s, measured side by side.

        Not a number where the place cannot run them.
        """


Meters = Mapping[str, LatencyMeter]
"""Meters by place: the name of a tier, or of several; ``""`` where there is but one place."""


def ratios(meters: Meters, candidate: bytes, baseline: bytes) -> dict[str, float]:
    """Latency of ``candidate`` in units of ``baseline``'s, by place."""
    return {place: meter.ratio(candidate, baseline) for place, meter in meters.items()}


def overall(found: Iterable[float]) -> float:
    """One figure for ratios of several places; of one place it is the ratio.

    The geometric mean of the ratios, none of them counted as more than 1: where 8 bits do not
    pay, fp32 is deployed, so how much slower they are there does not matter. Where they pay in
    no place, the least ratio. Places that could not run the models (not a number) are left out;
    infinite where none could.
    """
    known = [ratio for ratio in found if not math.isnan(ratio)]
    if not known:
        return math.inf
    if len(known) == 1 or min(known) >= 1:
        return min(known)
    return math.exp(sum(math.log(min(ratio, 1.0)) for ratio in known) / len(known))


def pays(found: Iterable[float]) -> bool:
    """Whether there is a place where it is faster by more than timing scatters."""
    return any(ratio <= 1 - MIN_GAIN for ratio in found)


class LocalMeter:
    """Measures in this process, see :func:`side_by_side`.

    With one thread the CPU time of a request is compared, which is its latency
    on a core of its own: other processes do not enter it. With more threads it is the wall clock,
    and what disturbs falls into the upper part, which isn't looked at.
    """

    def __init__(self, feeds: Sequence[Feeds], options: SessionOptions | None = None) -> None:
        """Time sessions of ``options`` on ``feeds`` (at least one)."""
        self._feeds = feeds
        self._options = options or SessionOptions()
        self._baseline: tuple[bytes, Session] | None = None

    @property
    def instructions(self) -> str:
        """This machine's."""
        return cpu_instructions()

    def ratio(self, candidate: bytes, baseline: bytes) -> float:
        """See :class:`LatencyMeter`."""
        if self._baseline is None or self._baseline[0] != baseline:
            self._baseline = (baseline, open_session(baseline, self._options))
        fp32 = self._baseline[1]
        with open_session(candidate, self._options) as other:
            return side_by_side(partial(self._time, other), partial(self._time, fp32))

    def _time(self, session: Session, index: int) -> float:
        # A session of one thread runs on the thread that calls it.
        clock = time.thread_time if self._options.threads == 1 else time.perf_counter
        feeds = self._feeds[index % len(self._feeds)]
        begun = clock()
        session.run(feeds)
        return clock() - begun


def side_by_side(candidate: Callable[[int], float], baseline: Callable[[int], float]) -> float:
    """The lower quartile of what ``candidate`` takes, in units of ``baseline``'s.

    The same input goes to both, and the order within a pair alternates, so a drifting machine
    hurts both alike.

    Args:
        candidate: Runs it once with the input of that index; returns seconds.
        baseline: The same of the baseline.
    """
    for index in range(_WARM_UPS):
        baseline(index)
        candidate(index)
    taken_s: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter()
    for index in range(_MOST_PAIRS):
        for which in (0, 1) if index % 2 == 0 else (1, 0):
            taken_s[which].append((baseline, candidate)[which](index))
        late = time.perf_counter() - begun > _SECONDS_PER_CANDIDATE
        if late and index + 1 >= _FEWEST_PAIRS:
            break
    return float(np.quantile(taken_s[1], 0.25) / np.quantile(taken_s[0], 0.25))


def comparing_s(pair_s: float) -> float:
    """About how long :func:`side_by_side` takes where both together take ``pair_s``."""
    most_s, fewest_s = ((_WARM_UPS + n) * pair_s for n in (_MOST_PAIRS, _FEWEST_PAIRS))
    return max(min(most_s, _SECONDS_PER_CANDIDATE), fewest_s)
