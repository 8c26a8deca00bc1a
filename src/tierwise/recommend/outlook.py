"""What a study says of networks that it did not measure, and where the best changes."""

from dataclasses import dataclass, replace

import numpy as np

from tierwise.predict.crossovers import Crossover
from tierwise.predict.fit import fit_latency_model
from tierwise.predict.latency import LatencyModel, Predictions
from tierwise.recommend.assess import assess
from tierwise.recommend.outlook_lines import NEVER, choices_of, crossovers_around
from tierwise.recommend.outlook_words import outlook_text
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
from tierwise.store.results import StudyResults, TrialResult, TrialState
from tierwise.tiers.topology import NetworkCondition


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
    choices = choices_of(results, asked)
    tail_s = {
        strategy.id: float(tail_s)
        for strategy, tail_s in zip(model.strategies, choices.tail_s, strict=True)
        if not np.isnan(tail_s)
    }
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
    found = crossovers_around(results, model, choices, conditions)
    recommendation = Recommendation(asked, results, tuple(verdicts), (), results.warnings, "")
    text = outlook_text(verdicts, predicted, found)
    return Outlook(recommendation, tuple(predicted), found, model, text)


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
        if trial.state in NEVER or np.isnan(numbers[1]):
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
        return ConditionVerdict(condition, tuple(judged), None, None, None, (), predicted=True)
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
        predicted=True,
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
