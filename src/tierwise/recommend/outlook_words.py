"""Predictions in words."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from tierwise.predict.crossovers import Crossover
from tierwise.predict.latency import COVERAGE
from tierwise.recommend.phrases import listed, under
from tierwise.recommend.recommendation import ConditionVerdict
from tierwise.units import format_bandwidth, format_duration

# Conditions that get a paragraph each; of more the table says it in a line each.
_MOST_TOLD = 2


def outlook_text(
    verdicts: Sequence[ConditionVerdict],
    predicted: Sequence[bool],
    crossovers: Sequence[Crossover],
) -> str:
    """What is chosen where, and at which bandwidths that changes."""
    if len(verdicts) <= _MOST_TOLD:
        told = [verdict_text(v, predicted=p) for v, p in zip(verdicts, predicted, strict=True)]
    else:
        told = [_many_text(verdicts, sum(predicted))]
    return "\n\n".join([*told, *_crossovers_text(crossovers)])


def _many_text(verdicts: Sequence[ConditionVerdict], predicted: int) -> str:
    count = len(verdicts)
    how = (
        f"All {count} networks are predicted: nothing was measured there."
        if predicted == count
        else f"All {count} networks were measured; nothing of this is predicted."
        if not predicted
        else f"Of {count} networks {count - predicted} were measured and {predicted} are predicted."
    )
    chosen = Counter(verdict.recommended for verdict in verdicts).most_common()
    if len(chosen) == 1:
        return f"{how} Deploy {_name(chosen[0][0])} under all of them."
    return f"{how} Deploy {', '.join(f'{_name(name)} under {n}' for name, n in chosen)}."


def _crossovers_text(crossovers: Sequence[Crossover]) -> Iterable[str]:
    """A sentence for each change, however many other shapes of the network it happens under."""
    alike: dict[str, list[Crossover]] = {}
    for one in crossovers:
        alike.setdefault(crossover_text(one, where="..."), []).append(one)
    for same in alike.values():
        more = len(same) - 1
        where = _elsewhere(same[0]) + (f"; and {more} more networks" if more else "")
        yield crossover_text(same[0], where=where)


def _elsewhere(crossover: Crossover) -> str:
    others = [f"{n} {s}" for n, s in crossover.condition.shapes.items() if n != crossover.link]
    rtt_s = crossover.condition.shapes[crossover.link].rtt_s
    return "; ".join([f"rtt {format_duration(rtt_s)}", *others] if rtt_s else others)


def crossover_text(crossover: Crossover, where: str | None = None) -> str:
    """``"Below 23 Mbit/s on edge-cloud choose mobile/QE, above it cloud/I."``, with interval.

    Args:
        crossover: The change.
        where: The shapes of the other links, in other words than the crossover's own.
    """
    where = _elsewhere(crossover) if where is None else where
    low = _rounded(crossover.low_bit_per_s, 2)
    if np.isinf(crossover.high_bit_per_s):
        interval = f"from {low} upward"
    else:
        interval = f"{low} to {_rounded(crossover.high_bit_per_s, 2)}"
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
