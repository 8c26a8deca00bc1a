"""Time as a seam: what measures and waits asks a clock, so that tests never do."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. ``now_s`` never goes back."""

    def now_s(self) -> float:
        """Seconds since some fixed moment."""

    def sleep_until_s(self, moment_s: float) -> None:
        """Return at ``moment_s`` of :meth:`now_s`, or at once if it has passed."""


class SystemClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Seconds of ``time.perf_counter``."""
        return time.perf_counter()

    def sleep_until_s(self, moment_s: float) -> None:
        """Sleep until ``moment_s``."""
        rest_s = moment_s - time.perf_counter()
        if rest_s > 0:
            time.sleep(rest_s)
