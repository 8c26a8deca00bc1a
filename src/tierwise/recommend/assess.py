"""Judges every trial of a condition against a requirement, one by one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tierwise.operators.strategy import Operator, Strategy
from tierwise.recommend.latency import latency_figure, samples_needed
from tierwise.recommend.pareto import pareto_front
from tierwise.recommend.recommendation import Assessment, Limit, Miss
from tierwise.recommend.requirement import Requirement
from tierwise.store.results import StudyResults, TrialResult, TrialState
from tierwise.tiers.topology import NetworkCondition
from tierwise.units import format_duration


def assess(
    results: StudyResults, condition: NetworkCondition, requirement: Requirement
) -> tuple[Assessment, ...]:
    """Every trial of ``condition`` judged on its own; fastest first, those without numbers last."""
    judged = [
        _judge(results, trial, requirement)
        for trial in results.trials
        if trial.condition == condition
    ]
    judged.sort(key=lambda a: (float("inf") if a.latency is None else a.latency.p50_s, a.id))
    return _mark_front(_mark_slow_int8(judged))


def _judge(results: StudyResults, trial: TrialResult, requirement: Requirement) -> Assessment:
    assessment = Assessment(
        trial,
        latency_figure(trial),
        results.quality_of(trial.strategy),
        max(trial.memory_bytes.values(), default=None),
        trial.typical_parts_s(),
    )
    if assessment.latency is None:
        return assessment
    found = (
        _latency_miss(assessment, requirement),
        _loss_miss(assessment, requirement),
        _memory_miss(assessment, requirement),
    )
    return replace(assessment, misses=tuple(miss for miss in found if miss is not None))


def _latency_miss(assessment: Assessment, requirement: Requirement) -> Miss | None:
    latency, limit_s, percentile = assessment.latency, requirement.latency_s, requirement.percentile
    if latency is None or limit_s is None or percentile is None:
        return None
    if not latency.measured:
        # Only the median was predicted: it settles other percentiles where it is beyond the limit.
        if latency.low_s > limit_s and percentile >= 50:
            return Miss(Limit.LATENCY, latency.p50_s, limit_s, "predicted")
        if percentile == 50 and latency.high_s <= limit_s:
            return None
        return Miss(Limit.LATENCY, None, limit_s, f"p{percentile:g} was not measured")
    needed = samples_needed(percentile)
    if latency.n < needed:
        return Miss(
            Limit.LATENCY,
            None,
            limit_s,
            f"p{percentile:g} needs {needed} samples, there are {latency.n}",
        )
    value_s = float(np.quantile(assessment.trial.latency_s, percentile / 100))
    return Miss(Limit.LATENCY, value_s, limit_s) if value_s > limit_s else None


def _loss_miss(assessment: Assessment, requirement: Requirement) -> Miss | None:
    if requirement.max_loss is None:
        return None
    if assessment.loss is None:
        return Miss(Limit.LOSS, None, requirement.max_loss, "its quality was not evaluated")
    # A tolerance below any figure that is printed: 100 - 99 is not 1 in binary fractions.
    if assessment.loss > requirement.max_loss + 1e-9:
        return Miss(Limit.LOSS, assessment.loss, requirement.max_loss)
    return None


def _memory_miss(assessment: Assessment, requirement: Requirement) -> Miss | None:
    limit = requirement.max_memory_bytes
    if limit is None:
        return None
    if assessment.memory_bytes is None:
        return Miss(Limit.MEMORY, None, limit, "its memory was not measured")
    return Miss(Limit.MEMORY, assessment.memory_bytes, limit) if (
        assessment.memory_bytes > limit
    ) else None  # fmt: skip


def _mark_slow_int8(judged: Sequence[Assessment]) -> list[Assessment]:
    """Say which INT8 strategies are no faster than the same thing in float."""
    floats: dict[_Place, list[Assessment]] = {}
    for one in judged:
        if one.measured and not one.trial.strategy.operator.quantizes:
            floats.setdefault(_place(one.trial.strategy), []).append(one)
    marked = []
    for assessment in judged:
        strategy, latency = assessment.trial.strategy, assessment.latency
        twins = floats.get(_float_twin(strategy), []) if strategy.operator.quantizes else []
        if latency is None or not twins:
            marked.append(assessment)
            continue
        twin = min(twins, key=_p50_s)
        slower = latency.p50_s >= _p50_s(twin)
        why = (
            f"INT8 is no faster here: {format_duration(latency.p50_s)} against"
            f" {format_duration(_p50_s(twin))} of {twin.id} in float"
        )
        marked.append(replace(assessment, unsuited=why) if slower else assessment)
    return marked


_Place = tuple[Operator, str, tuple[str, ...]]


def _place(strategy: Strategy) -> _Place:
    return strategy.operator, strategy.variant, strategy.tiers


def _float_twin(strategy: Strategy) -> _Place:
    """The same operator and variant in float, in the same place."""
    suffix = strategy.variant.removeprefix(strategy.operator.variant.value)
    without = Operator(strategy.operator.value.replace("Q", "") or "I")
    return without, without.variant.value + suffix, strategy.tiers


def _p50_s(assessment: Assessment) -> float:
    assert assessment.latency is not None
    return assessment.latency.p50_s


def _mark_front(judged: Sequence[Assessment]) -> tuple[Assessment, ...]:
    """Mark the Pareto front of what was measured; where no quality is known, the fastest."""
    measured = [a for a in judged if a.measured]
    known = [a for a in measured if a.loss is not None]
    pool = known or measured
    front = pareto_front(
        np.array([_p50_s(a) for a in pool]), np.array([a.loss or 0.0 for a in pool])
    )
    on_front = {a.id for a, marked in zip(pool, front, strict=True) if marked}
    return tuple(replace(a, on_pareto_front=a.id in on_front) for a in judged)


def unsupported(assessments: Sequence[Assessment], requirement: Requirement) -> bool:
    """Whether no measured trial has the samples that the required percentile needs."""
    if requirement.percentile is None:
        return False
    needed = samples_needed(requirement.percentile)
    counts = [a.latency.n for a in assessments if a.latency is not None and a.measured]
    return bool(counts) and max(counts) < needed


def states(assessments: Sequence[Assessment], state: TrialState) -> tuple[Assessment, ...]:
    """Those whose trial is in ``state``."""
    return tuple(a for a in assessments if a.trial.state is state)
