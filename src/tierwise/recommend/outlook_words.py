"""Predictions in words."""

import numpy as np

from tierwise.predict.crossovers import Crossover
from tierwise.predict.latency import COVERAGE
from tierwise.recommend.phrases import listed, under
from tierwise.recommend.recommendation import ConditionVerdict
from tierwise.units import format_bandwidth, format_duration


def crossover_text(crossover: Crossover) -> str:
    """``"Below 23 Mbit/s on edge-cloud choose mobile/QE, above it cloud/I."``, with interval."""
    low = _rounded(crossover.low_bit_per_s, 2)
    if np.isinf(crossover.high_bit_per_s):
        interval = f"from {low} upward"
    else:
        interval = f"{low} to {_rounded(crossover.high_bit_per_s, 2)}"
    others = [f"{n} {s}" for n, s in crossover.condition.shapes.items() if n != crossover.link]
    rtt_s = crossover.condition.shapes[crossover.link].rtt_s
    where = "; ".join([f"rtt {format_duration(rtt_s)}", *others] if rtt_s else others)
    return (
        f"Below {_rounded(crossover.bandwidth_bit_per_s, 3)} on {crossover.link}"
        f"{f' ({where})' if where else ''} choose {_name(crossover.below)}, above it"
        f" {_name(crossover.above)} (predicted; {COVERAGE:.0%} interval of the change: {interval})."
    )


def _rounded(bit_per_s: float, digits: int) -> str:
    """To as many digits as can matter beside the interval."""
    return format_bandwidth(float(f"{bit_per_s:.{digits}g}"))


def _name(strategy: str | None) -> str:
    return strategy or "none (no strategy meets the requirement)"


def verdict_text(verdict: ConditionVerdict, *, predicted: bool) -> str:
    """What is predicted under one condition, or that it was measured and what then."""
    choice, where = verdict.choice, under(verdict.condition)
    if not predicted:
        return f"Measured, not predicted: {verdict.text}"
    if choice is None or choice.latency is None:
        return f"{where[0].upper()}{where[1:]} no strategy is predicted to meet the requirement."
    latency = choice.latency
    text = (
        f"{where[0].upper()}{where[1:]}, deploy {choice.id}: predicted median"
        f" {format_duration(latency.p50_s)} ({format_duration(latency.low_s)} to"
        f" {format_duration(latency.high_s)}). Nothing was measured there."
    )
    near = [a.id for a in verdict.tied]
    if near:
        whose = "interval of {} reaches" if len(near) == 1 else "intervals of {} reach"
        text += f" The {whose.format(listed(near))} into it: measure to be sure."
    return text
