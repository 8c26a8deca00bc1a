"""Axes of latency: linear or logarithmic, with ticks that people count in."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

# heuristic: beyond a factor of 12 a linear axis pushes the fast strategies into its corner.
_LOG_BEYOND = 12.0


def latency_axis(values_ms: Sequence[float]) -> dict[str, Any]:
    """``scale`` and ``axis`` of a latency channel for these values."""
    low, high = min(values_ms), max(values_ms)
    if high <= _LOG_BEYOND * low:
        return {"scale": alt.Scale(zero=False, nice=True), "axis": alt.Axis(tickCount=8)}
    ticks = [tick for tick in _one_two_five(low, high) if low * 0.7 <= tick <= high * 1.4]
    return {
        "scale": alt.Scale(type="log", domain=[low * 0.85, high * 1.15]),
        "axis": alt.Axis(values=ticks, format="~g"),
    }


def _one_two_five(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
