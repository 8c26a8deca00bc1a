"""What a study says of networks that it did not measure, and where the best changes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tierwise.operators.strategy import Strategy
from tierwise.predict.crossovers import Crossover, Lines, find_crossovers, lines_along
from tierwise.predict.fit import fit_latency_model
from tierwise.predict.latency import LatencyModel, Predictions
from tierwise.recommend.assess import assess
from tierwise.recommend.latency import samples_needed
from tierwise.recommend.pareto import pareto_front
from tierwise.recommend.recommendation import (
    Assessment,
    ConditionVerdict,
    Limit,
    Miss,
    Recommendation,
)
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend
from tierwise.recommend.words import under
from tierwise.store.results import StudyResults, TrialResult, TrialState
from tierwise.tiers.topology import NetworkCondition
from tierwise.units import format_bandwidth, format_duration

# heuristic: crossovers are looked for up to this factor beyond the bandwidths that were measured
# or asked about; farther out the fixed terms of the model decide, and nothing has tested them.
_BEYOND = 10.0
# Nothing that would change under another network.
_NEVER = frozenset({TrialState.DOES_NOT_FIT, TrialState.FAILED, TrialState.LEFT_OUT})


@dataclass(frozen=True)
class Outlook:
    """The answer of ``tierwise predict``.

    Attributes:
        recommendation: Verdicts under the conditions asked about. Under one that was measured it
            is what was measured; elsewhere every trial is predicted and none counts as measured.
        predicted: For every verdict, whether it is predicted.
        crossovers: Of every link that has a bandwidth, for each shape of the other links.
        model: What predicted.
        verdict: In words.
    """

    recommendation: Recommendation
    predicted: tuple[bool, ...]
    crossovers: tuple[Crossover, ...]
    model: LatencyModel
    verdict: str


def predict(results: StudyResults, requirement: Requirement | None = None) -> Outlook:
    """Predict every strategy of a study under the conditions of ``requirement.when``.

    Among the strategies whose predicted percentile, loss and memory meet the requirement, the one
    with the lowest predicted median is recommended; those whose intervals reach below the upper
    end of its own are marked as tied. A percentile is predicted as the predicted median plus
    what it exceeded the median by where the strategy was measured.

    Raises:
        NotAStudyError: Nothing was measured.
        UserError: A link of ``when`` does not exist.
    """
    asked = Requirement.from_mapping(results.requirement) if requirement is None else requirement
    asked.check_links(results.conditions)
    model = fit_latency_model(results)
    conditions = list(results.conditions)
    for match in asked.when:
        conditions = [match.applied_to(condition) for condition in conditions]
    conditions = list(dict.fromkeys(conditions))
    tail_s = _tails_s(results, model, asked.percentile)
    predictions = model.predict(conditions)
    verdicts, predicted = [], []
    for index, condition in enumerate(conditions):
        known = condition in results.conditions
        predicted.append(not known)
        if known:
            verdicts.append(_measured_verdict(results, condition, asked))
        else:
            trials = _trials(results, model, predictions, condition, index)
            verdicts.append(_verdict(replace(results, trials=trials), condition, asked, tail_s))
    found = _crossovers(results, model, conditions, asked)
    recommendation = Recommendation(asked, results, tuple(verdicts), (), results.warnings, "")
    texts = [_text(v, predicted=p) for v, p in zip(verdicts, predicted, strict=True)]
    texts += [crossover_text(one) for one in found]
    return Outlook(recommendation, tuple(predicted), found, model, "\n\n".join(texts))


def lines_of(
    results: StudyResults,
    model: LatencyModel,
    link: str,
    condition: NetworkCondition,
    asked: Requirement,
) -> Lines:
    """Latency over the bandwidth of ``link`` of the strategies that may meet ``asked``.

    Args:
        results: What the model was fitted to.
        model: Fitted.
        link: Name of the link.
        condition: The shapes of the other links, and the round-trip time of this one.
        asked: What is required.
    """
    tail_s = _tails_s(results, model, asked.percentile)
    trials: dict[Strategy, list[TrialResult]] = {}
    for trial in results.trials:
        trials.setdefault(trial.strategy, []).append(trial)
    eligible = np.array([_may_be_chosen(results, trials[s], asked, tail_s) for s in trials])
    tails = np.array([tail_s.get(s.id, 0.0) for s in model.strategies])
    most_s = np.inf if asked.latency_s is None else asked.latency_s
    return lines_along(model, link, condition, eligible, tails, most_s)


def around(rates_bit_per_s: Sequence[float]) -> tuple[float, float]:
    """Between which bandwidths the model is asked, for those that were measured or asked about."""
    return min(rates_bit_per_s) / _BEYOND, max(rates_bit_per_s) * _BEYOND


def crossover_text(crossover: Crossover) -> str:
    """``"Below 23 Mbit/s on edge-cloud choose mobile/QE, above it cloud/I."``, with interval."""
    low, high = crossover.low_bit_per_s, crossover.high_bit_per_s
    upper = "any higher" if np.isinf(high) else format_bandwidth(high)
    others = [f"{n} {s}" for n, s in crossover.condition.shapes.items() if n != crossover.link]
    rtt_s = crossover.condition.shapes[crossover.link].rtt_s
    where = "; ".join([f"rtt {format_duration(rtt_s)}", *others] if rtt_s else others)
    return (
        f"Below {format_bandwidth(crossover.bandwidth_bit_per_s)} on {crossover.link}"
        f"{f' ({where})' if where else ''} choose {_name(crossover.below)}, above it"
        f" {_name(crossover.above)} (predicted; the change lies between"
        f" {format_bandwidth(low)} and {upper})."
    )


def _name(strategy: str | None) -> str:
    return strategy or "none (no strategy meets the requirement)"


def _measured_verdict(
    results: StudyResults, condition: NetworkCondition, asked: Requirement
) -> ConditionVerdict:
    only = replace(results, conditions=(condition,))
    return recommend(only, replace(asked, when=())).verdicts[0]


def _trials(
    results: StudyResults,
    model: LatencyModel,
    predictions: Predictions,
    condition: NetworkCondition,
    column: int,
) -> tuple[TrialResult, ...]:
    """A trial of every strategy under ``condition``: predicted, or why not."""
    known: dict[str, TrialResult] = {}
    for trial in results.trials:
        if trial.state is TrialState.MEASURED or trial.strategy.id not in known:
            known[trial.strategy.id] = trial
    made = []
    for row, strategy in enumerate(model.strategies):
        trial = known[strategy.id]
        numbers = [
            float(array[row, column])
            for array in (predictions.low_s, predictions.median_s, predictions.high_s)
        ]
        if trial.state in _NEVER or np.isnan(numbers[1]):
            reason = trial.reason or "nothing that was measured says how long it would take"
            state = TrialState.PENDING if trial.state is TrialState.PREDICTED else trial.state
            made.append(TrialResult(strategy, condition, state, reason))
            continue
        made.append(
            TrialResult(
                strategy,
                condition,
                TrialState.PREDICTED,
                wire_bytes=trial.wire_bytes,
                memory_bytes=trial.memory_bytes,
                predicted_s=(numbers[0], numbers[1], numbers[2]),
            )
        )
    return tuple(made)


def _verdict(
    results: StudyResults,
    condition: NetworkCondition,
    asked: Requirement,
    tail_s: dict[str, float],
) -> ConditionVerdict:
    judged = [
        _judge_percentile(assessment, asked, tail_s)
        for assessment in assess(results, condition, asked)
    ]
    numbered = [a for a in judged if a.latency is not None]
    front = pareto_front(
        np.array([a.latency.p50_s for a in numbered if a.latency is not None]),
        np.array([a.loss or 0.0 for a in numbered]),
    )
    best = {a.id for a, on in zip(numbered, front, strict=True) if on}
    judged = [replace(a, on_pareto_front=a.id in best) for a in judged]
    eligible = [a for a in judged if a.meets]
    if not eligible:
        return ConditionVerdict(condition, tuple(judged), None, None, None, ())
    choice = eligible[0]
    assert choice.latency is not None
    reach_s = choice.latency.high_s
    tied = {a.id for a in eligible if a.latency is not None and a.latency.low_s <= reach_s}
    return ConditionVerdict(
        condition,
        tuple(replace(a, tied_with_best=a.id in tied) for a in judged),
        choice.id,
        choice.id,
        None,
        (),
    )


def _judge_percentile(
    assessment: Assessment, asked: Requirement, tail_s: dict[str, float]
) -> Assessment:
    """Replace "was not measured" by what is predicted of the percentile that is required."""
    latency = assessment.latency
    if latency is None or asked.latency_s is None:
        return assessment
    misses = [miss for miss in assessment.misses if miss.limit is not Limit.LATENCY]
    if assessment.id not in tail_s:
        why = f"p{asked.percentile:g} cannot be predicted: too few samples, or none"
        misses.append(Miss(Limit.LATENCY, None, asked.latency_s, why))
        return replace(assessment, misses=tuple(misses))
    value_s = latency.p50_s + tail_s[assessment.id]
    if value_s > asked.latency_s:
        misses.append(Miss(Limit.LATENCY, value_s, asked.latency_s, "predicted"))
    shown = replace(latency, p95_s=value_s) if asked.percentile == 95 else latency
    return replace(assessment, latency=shown, misses=tuple(misses))


def _tails_s(
    results: StudyResults, model: LatencyModel, percentile: float | None
) -> dict[str, float]:
    """By strategy, by how much the percentile exceeded the median, over what was measured."""
    if percentile is None or percentile == 50:
        return {strategy.id: 0.0 for strategy in model.strategies}
    found: dict[str, list[float]] = {}
    for trial in results.trials:
        if len(trial.latency_s) >= samples_needed(percentile):
            excess_s = np.quantile(trial.latency_s, percentile / 100) - np.median(trial.latency_s)
            found.setdefault(trial.strategy.id, []).append(float(excess_s))
    return {id_: float(np.mean(values)) for id_, values in found.items()}


def _crossovers(
    results: StudyResults,
    model: LatencyModel,
    conditions: Sequence[NetworkCondition],
    asked: Requirement,
) -> tuple[Crossover, ...]:
    """Along every link, around every one of ``conditions``."""
    found: list[Crossover] = []
    for link in model.links:
        bases: dict[NetworkCondition, list[float]] = {}
        for condition in conditions:
            rate = condition.shapes[link].bandwidth_bit_per_s
            if rate is not None:
                bases.setdefault(without_rate(condition, link), []).append(rate)
        measured = [c.shapes[link].bandwidth_bit_per_s for c in results.conditions]
        for base, rates in bases.items():
            lines = lines_of(results, model, link, base, asked)
            known = [rate for rate in measured if rate is not None]
            found += find_crossovers(model, lines, link, base, around([*rates, *known]))
    return tuple(found)


def without_rate(condition: NetworkCondition, link: str) -> NetworkCondition:
    """``condition`` whatever the bandwidth of ``link``: with it unlimited."""
    shape = replace(condition.shapes[link], bandwidth_bit_per_s=None)
    return NetworkCondition({**condition.shapes, link: shape})


def _may_be_chosen(
    results: StudyResults,
    trials: Sequence[TrialResult],
    asked: Requirement,
    tail_s: dict[str, float],
) -> bool:
    """Whether all but a strategy's latency meets the requirement, and its latency can be told."""
    if any(t.state in _NEVER for t in trials):
        return False
    if asked.latency_s is not None and trials[0].strategy.id not in tail_s:
        return False
    if asked.max_loss is not None:
        quality = results.quality_of(trials[0].strategy)
        if quality is None or quality.loss > asked.max_loss + 1e-9:
            return False
    if asked.max_memory_bytes is None:
        return True
    held = [max(t.memory_bytes.values()) for t in trials if t.memory_bytes]
    return bool(held) and max(held) <= asked.max_memory_bytes


def _text(verdict: ConditionVerdict, *, predicted: bool) -> str:
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
        text += (
            f" The interval of {', '.join(near[:3])}"
            f"{f' and {len(near) - 3} more' if len(near) > 3 else ''} reaches into it: measure to"
            " be sure."
        )
    return text
