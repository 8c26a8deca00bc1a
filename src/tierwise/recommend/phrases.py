"""Phrases that several sentences share."""

from collections.abc import Sequence

from tierwise.tiers.topology import NetworkCondition

# A sentence lists at most this many strategies; the table has them all.
_MOST_LISTED = 3
# heuristic: from here on people multiply and do not add percent.
_TIMES = 2.0


def under(condition: NetworkCondition) -> str:
    """``"at mobile-edge 200 Mbit/s, rtt 5 ms; edge-cloud 10 Mbit/s"``, or ``""`` without links."""
    shapes = "; ".join(f"{name} {shape}" for name, shape in condition.shapes.items())
    return f"at {shapes}" if shapes else ""


def slower_by(ratio: float) -> str:
    """``"is 10.4% slower"``, or ``"takes 2.27 times as long"``."""
    return f"is {ratio - 1:.1%} slower" if ratio < _TIMES else f"takes {ratio:.3g} times as long"


def listed(names: Sequence[str]) -> str:
    """``"a, b and c"``, cut after a few."""
    if len(names) > _MOST_LISTED:
        return f"{', '.join(names[:_MOST_LISTED])} and {len(names) - _MOST_LISTED} more"
    if len(names) > 1:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return names[0]
