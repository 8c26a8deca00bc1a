"""From results and a requirement to a recommendation."""

from collections.abc import Sequence
from dataclasses import replace

from tierwise.caveats import ResultWarning
from tierwise.errors import NotAStudyError, RequirementNotMet, TooFewSamples
from tierwise.recommend.assess import assess, unsupported
from tierwise.recommend.cautions import subjects_of
from tierwise.recommend.latency import samples_needed
from tierwise.recommend.recommendation import Assessment, ConditionVerdict, Recommendation
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.shortfall import needed_changes
from tierwise.recommend.sweep import find_switches
from tierwise.recommend.ties import BlockComparison, compare_all, fastest_and_rivals
from tierwise.recommend.words import condition_text, whole_text
from tierwise.stats.equivalence import MARGIN
from tierwise.stats.verdict import Standing
from tierwise.store.results import StudyResults
from tierwise.tiers.topology import NetworkCondition


def recommend(results: StudyResults, requirement: Requirement | None = None) -> Recommendation:
    """Say which strategy to deploy, what it is tied with, and what to beware of.

    Under every condition asked about: among the measured strategies that meet the requirement
    (and are not INT8 slower than float) the fastest by median; of those that the samples do not
    show to be slower (:func:`tierwise.stats.verdict.compare_with_best`), and that are at most 3%
    slower by their own medians, the simplest. What was only predicted is judged and shown, and
    never recommended.

    Args:
        results: Of a finished or half-finished study.
        requirement: What is needed; ``None``: what the study file says.

    Raises:
        NotAStudyError: The study has no trial.
        TooFewSamples: No trial has the samples that the required percentile needs.
        UserError: No condition of the sweep is like ``requirement.when``.
    """
    asked = Requirement.from_mapping(results.requirement) if requirement is None else requirement
    if not results.trials:
        raise NotAStudyError(
            f"The study {results.name!r} has no trial yet.", hint="`tierwise run` measures them."
        )
    verdicts = tuple(
        _judge_condition(results, condition, asked)
        for condition in asked.choose(results.conditions)
    )
    warnings = tuple(sorted(results.warnings, key=lambda w: _concerns(w, verdicts), reverse=True))
    recommendation = Recommendation(
        asked, results, verdicts, find_switches(verdicts), warnings, verdict=""
    )
    verdicts = tuple(
        replace(verdict, text=condition_text(recommendation, verdict)) for verdict in verdicts
    )
    recommendation = replace(recommendation, verdicts=verdicts)
    return replace(recommendation, verdict=whole_text(recommendation))


def require_met(recommendation: Recommendation) -> None:
    """Raise :class:`RequirementNotMet` unless some strategy meets the requirement everywhere.

    Raises:
        NotAStudyError: where that cannot be said yet, because a condition is not measured.
    """
    unmet = [v for v in recommendation.verdicts if v.recommended is None]
    if not unmet:
        return
    waiting = [verdict for verdict in unmet if verdict.waiting]
    if waiting:
        raise NotAStudyError(
            f"{len(waiting)} of {len(recommendation.verdicts)} network conditions are not measured "
            f"yet, such as {waiting[0].condition.id or 'the only one'}.",
            hint="Go on where the study stopped: `tierwise run study.yaml -o DIR`.",
        )
    where = "" if len(recommendation.verdicts) == 1 else f" at {unmet[0].condition.id}"
    raise RequirementNotMet(
        f"No strategy meets the requirement ({recommendation.requirement}){where}.",
        hint=" ".join(needed_changes(recommendation.requirement, unmet[0])) or None,
        requirement=recommendation.requirement,
    )


def _judge_condition(
    results: StudyResults, condition: NetworkCondition, requirement: Requirement
) -> ConditionVerdict:
    judged = assess(results, condition, requirement)
    if requirement.percentile is not None and unsupported(judged, requirement):
        error = TooFewSamples(
            f"p{requirement.percentile:g} of a trial's latency",
            needed=samples_needed(requirement.percentile),
            got=max(a.latency.n for a in judged if a.latency is not None),
        )
        error.hint = (
            "Ask for a lower percentile (--latency p50=...), or measure more: raise"
            " `measure: samples:` in the study file and run it again."
        )
        raise error
    measured = [a for a in judged if a.measured]
    omnibus, comparisons = compare_all([a.trial for a in measured])
    eligible = [a for a in measured if a.meets and not a.unsuited]
    verdict = ConditionVerdict(condition, judged, None, None, omnibus, comparisons)
    if not eligible:
        return verdict
    fastest, rivals = fastest_and_rivals(
        [a.trial for a in eligible],
        results.tests(condition),
        results.contenders(condition),
    )
    tied = {fastest} | {id_ for id_, c in rivals.items() if not c.standing.not_the_best}
    marked = tuple(
        replace(
            a,
            tied_with_best=a.id in tied,
            against_best=rivals.get(a.id),
        )
        for a in judged
    )
    near = [a for a in eligible if a.id in tied and _near(rivals.get(a.id))]
    choice = min(near, key=_complexity)
    return replace(verdict, strategies=marked, fastest=fastest, recommended=choice.id)


def _near(rival: BlockComparison | None) -> bool:
    """Whether its own samples say that it is no more than 3% slower than the fastest.

    One that could not be told apart because of noise, but is slower by more as far as is known, is
    not preferred for being simpler.
    """
    return (
        rival is None
        or rival.standing is Standing.EQUIVALENT
        or (rival.ratio.estimate <= 1 + MARGIN)
    )


def _complexity(assessment: Assessment) -> tuple[int, float, int, float]:
    """What makes a strategy simpler: fewer segments, less loss, fewer operators; then speed."""
    strategy = assessment.trial.strategy
    operators = len(strategy.operator.value.replace("I", ""))
    loss = round(max(assessment.loss or 0.0, 0.0), 1)
    assert assessment.latency is not None
    return len(strategy.tiers), loss, operators, assessment.latency.p50_s


def _concerns(warning: ResultWarning, verdicts: Sequence[ConditionVerdict]) -> bool:
    """Whether ``warning`` is about what is recommended, or about the whole study."""
    return warning.subject == "" or any(
        verdict.choice is not None and warning.subject in subjects_of(verdict.choice)
        for verdict in verdicts
    )
