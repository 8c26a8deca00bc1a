"""A clock that moves only when told: tests of what waits never wait."""


class FakeClock:
    """Implements :class:`tierwise.measure.clock.Clock`."""

    def __init__(self, now_s: float = 0.0) -> None:
        """Start at ``now_s``."""
        self._now_s = now_s

    def now_s(self) -> float:
        """Seconds, as far as the clock was moved."""
        return self._now_s

    def advance_s(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self._now_s += seconds

    def sleep_until_s(self, moment_s: float) -> None:
        """Move to ``moment_s`` unless it has passed."""
        self._now_s = max(self._now_s, moment_s)
