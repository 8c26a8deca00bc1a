"""How late a process of ours usually is, so that it can begin that much earlier.

A wire needs no time to notice a packet. The process that stands for it does: 25 to 45 microseconds
from the moment that a packet was due until it was delivered (medians of 45 to 810 packets, 2
virtual cores kept awake).
"""

# Follows a change within some 20 packets. heuristic.
_LEARN = 0.05
# A machine that is busier than this shows as a longer delay.
_MOST_S = 0.0001


class Lateness:
    """Of one process: the average of what it was, recent times counting more."""

    def __init__(self) -> None:
        """Punctual, until it is seen."""
        self.usual_s = 0.0

    def was(self, seconds: float) -> None:
        """It slept until something was due, and did it so much later."""
        self.usual_s += _LEARN * (min(max(seconds, 0.0), _MOST_S) - self.usual_s)
