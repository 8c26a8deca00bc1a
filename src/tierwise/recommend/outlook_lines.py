"""Latency as lines over a bandwidth, of the strategies that may be chosen; where they cross."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tierwise.operators.strategy import Strategy
from tierwise.predict.crossovers import Crossover, Lines, find_crossovers, lines_along
from tierwise.predict.latency import LatencyModel
from tierwise.recommend.latency import samples_needed
from tierwise.recommend.requirement import Requirement
from tierwise.store.results import StudyResults, TrialResult, TrialState
from tierwise.tiers.topology import NetworkCondition

# heuristic: crossovers are looked for up to this factor beyond the bandwidths that were measured
# or asked about; farther out the fixed terms of the model decide, and nothing has tested them.
_BEYOND = 10.0
# Nothing that would change under another network.
NEVER = frozenset({TrialState.DOES_NOT_FIT, TrialState.FAILED, TrialState.LEFT_OUT})


@dataclass(frozen=True)
class Choices:
    """What may be chosen wherever it is fast enough. In the order of the model's strategies.

    Attributes:
        eligible: Whether all but the latency meets the requirement, and the latency can be told.
        tail_s: By how much the required percentile exceeds each median; NaN: not known.
        most_s: The most that the percentile may be; ``inf``: anything.
    """

    eligible: Bool[np.ndarray, " s"]
    tail_s: Float[np.ndarray, " s"]
    most_s: float


def choices_of(results: StudyResults, asked: Requirement) -> Choices:
    """What ``asked`` leaves to choose from.

    Args:
        results: What the model is fitted to.
        asked: What is required.
    """
    trials: dict[Strategy, list[TrialResult]] = {}
    for trial in results.trials:
        trials.setdefault(trial.strategy, []).append(trial)
    tail_s = _tails_s(trials, asked.percentile)
    told = ~np.isnan(tail_s) | (asked.latency_s is None)
    eligible = np.array([_may_be_chosen(results, of, asked) for of in trials.values()])
    most_s = np.inf if asked.latency_s is None else asked.latency_s
    return Choices(eligible & told, tail_s, most_s)


def lines_of(
    model: LatencyModel, choices: Choices, link: str, condition: NetworkCondition
) -> tuple[Lines, ...]:
    """Latency over the bandwidth of ``link`` of the strategies that may be chosen.

    Args:
        model: Fitted.
        choices: From :func:`choices_of`.
        link: Name of the link.
        condition: The shapes of the other links, and the round-trip time of this one.
    """
    tail_s = np.nan_to_num(choices.tail_s)
    return lines_along(model, link, condition, choices.eligible, tail_s, choices.most_s)


def around(rates_bit_per_s: Sequence[float]) -> tuple[float, float]:
    """Between which bandwidths the model is asked, for those that were measured or asked about."""
    return min(rates_bit_per_s) / _BEYOND, max(rates_bit_per_s) * _BEYOND


def _tails_s(
    trials: Mapping[Strategy, Sequence[TrialResult]], percentile: float | None
) -> Float[np.ndarray, " s"]:
    """By strategy, by how much the percentile exceeded the median, over what was measured."""
    if percentile is None or percentile == 50:
        return np.zeros(len(trials))
    needed, found = samples_needed(percentile), np.full(len(trials), np.nan)
    for row, of in enumerate(trials.values()):
        excess_s = [
            np.quantile(trial.latency_s, percentile / 100) - np.median(trial.latency_s)
            for trial in of
            if len(trial.latency_s) >= needed
        ]
        if excess_s:
            found[row] = np.mean(excess_s)
    return found


def crossovers_around(
    results: StudyResults,
    model: LatencyModel,
    choices: Choices,
    conditions: Sequence[NetworkCondition],
) -> tuple[Crossover, ...]:
    """Along every link, around every one of ``conditions``."""
    found: list[Crossover] = []
    for link in model.links:
        bases: dict[NetworkCondition, list[float]] = {}
        for condition in conditions:
            rate = condition.shapes[link].bandwidth_bit_per_s
            if rate is not None:
                bases.setdefault(condition.at_rate(link, None), []).append(rate)
        measured = [c.shapes[link].bandwidth_bit_per_s for c in results.conditions]
        for base, rates in bases.items():
            pieces = lines_of(model, choices, link, base)
            known = [rate for rate in measured if rate is not None]
            found += find_crossovers(model, pieces, link, base, around([*rates, *known]))
    return tuple(found)


def _may_be_chosen(
    results: StudyResults,
    trials: Sequence[TrialResult],
    asked: Requirement,
) -> bool:
    """Whether all but a strategy's latency meets the requirement."""
    if any(t.state in NEVER for t in trials):
        return False
    if asked.max_loss is not None:
        quality = results.quality_of(trials[0].strategy)
        if quality is None or quality.loss > asked.max_loss + 1e-9:
            return False
    if asked.max_memory_bytes is None:
        return True
    held = [max(t.memory_bytes.values()) for t in trials if t.memory_bytes]
    return bool(held) and max(held) <= asked.max_memory_bytes
