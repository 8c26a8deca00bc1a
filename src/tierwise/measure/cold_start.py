"""Cold start: what the first user waits for. Its own figure, never part of a latency."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tierwise.errors import TooFewSamples
from tierwise.measure.clock import Clock, SystemClock
from tierwise.measure.sample import Timing


@dataclass(frozen=True)
class ColdStart:
    """What a trial takes from nothing to its first answer, and how the next request compares.

    Attributes:
        load_s: Loading the model and opening its sessions, each time, in seconds.
        first_s: The first request after that.
        second_s: The request after the first: what of it was the start's.
    """

    load_s: tuple[float, ...]
    first_s: tuple[float, ...]
    second_s: tuple[float, ...]

    @property
    def total_s(self) -> float:
        """Median of loading and the first answer together."""
        totals = np.array(self.load_s) + np.array(self.first_s)
        return float(np.median(totals))

    @property
    def penalty(self) -> float:
        """How many times as long the first request takes as the second, in the median."""
        return float(np.median(np.array(self.first_s) / np.array(self.second_s)))


def measure_cold_start(
    unload: Callable[[], None],
    load: Callable[[], None],
    send: Callable[[int], Timing],
    *,
    input_index: int = 0,
    repeats: int = 5,
    clock: Clock | None = None,
) -> ColdStart:
    """Unload, load and send twice, ``repeats`` times.

    Model files stay in the operating system's cache: this is the start of a session on a machine
    that has run the model before, not after a reboot.

    Args:
        unload: Closes the trial's sessions on every tier.
        load: Opens them and returns when requests are answered.
        send: Sends input number ``int`` and waits for the answer.
        input_index: Which input.
        repeats: How often.
        clock: Where time comes from.

    Raises:
        TooFewSamples: ``repeats`` is less than 1.
        TierFault: what ``unload``, ``load`` or ``send`` raise passes through.
    """
    if repeats < 1:
        raise TooFewSamples("A cold start (repeats)", needed=1, got=repeats)
    clock = clock or SystemClock()
    loads: list[float] = []
    firsts: list[float] = []
    seconds: list[float] = []
    for _ in range(repeats):
        unload()
        started_s = clock.now_s()
        load()
        loads.append(clock.now_s() - started_s)
        firsts.append(send(input_index).latency_s)
        seconds.append(send(input_index).latency_s)
    return ColdStart(tuple(loads), tuple(firsts), tuple(seconds))
