"""What to beware of before a recommendation is relied on, in sentences."""

from collections.abc import Iterable, Mapping

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.recommend.elsewhere import Elsewhere, compared_elsewhere
from tierwise.recommend.phrases import listed, under
from tierwise.recommend.recommendation import Assessment, ConditionVerdict, Recommendation
from tierwise.recommend.requirement import Requirement
from tierwise.stats.equivalence import MARGIN
from tierwise.stats.percentile import CONFIDENCE, percentile_bound
from tierwise.stats.percentile import samples_needed as percentile_samples_needed
from tierwise.stats.verdict import Standing
from tierwise.store.results import TrialState
from tierwise.units import format_duration

_KINDS = tuple(WarningKind)


def cautions(
    recommendation: Recommendation, verdict: ConditionVerdict, choice: Assessment
) -> Iterable[str]:
    """Sentences on what the reader should know before relying on ``choice``."""
    faster = [
        a
        for a in verdict.strategies
        if a.trial.state is TrialState.PREDICTED
        and a.latency is not None
        and choice.latency is not None
        and a.latency.low_s < choice.latency.p50_s
        and a.meets is not False
    ]
    settled = {
        a.id: compared_elsewhere(recommendation.results, verdict.condition, choice.id, a.id)
        for a in faster
    }
    yield from _settled(choice, {id_: one for id_, one in settled.items() if one is not None})
    open_ = [id_ for id_, one in settled.items() if one is None]
    if open_:
        yield (
            f"Predicted but not measured, {listed(open_)} could be faster: measure before relying"
            " on it."
        )
    slow = [a for a in verdict.strategies if a.unsuited]
    if slow:
        yield f"{listed([a.id for a in slow])} left out: INT8 is no faster than float there."
    narrow = _narrowly(recommendation.requirement, choice)
    if narrow:
        yield narrow
    subjects = subjects_of(choice).union(
        # A rival on a tier that was not as asked for is compared unfairly.
        *(_places(a) for a in verdict.strategies if a.measured)
    )
    about = [w for w in recommendation.warnings if w.subject in subjects]
    about.sort(key=lambda warning: _KINDS.index(warning.kind))
    if about:
        shown = "; ".join(_briefly(warning) for warning in about[:2])
        more = f"; and {len(about) - 2} more in the report" if len(about) > 2 else ""
        yield f"Beware: {shown}{more}."


def subjects_of(assessment: Assessment) -> frozenset[str]:
    """Names that a warning about this strategy may carry: itself, its places, its network."""
    trial = assessment.trial
    own = {trial.strategy.id, trial.strategy.variant, trial.condition.id, ""}
    return _places(assessment) | own


def _places(assessment: Assessment) -> frozenset[str]:
    """The tiers that work for the strategy, and the links that it uses."""
    return frozenset({*assessment.trial.strategy.tiers, *assessment.trial.wire_bytes})


def _briefly(warning: ResultWarning) -> str:
    whole = not warning.subject or "=" in warning.subject  # the study, or the network
    about = "" if whole else f" ({warning.subject})"
    return f"{warning.kind.value}{about}: {warning.evidence.removesuffix('.')}"


def _narrowly(requirement: Requirement, choice: Assessment) -> str:
    """Where the samples keep the limit but do not prove that the truth does."""
    limit_s, percentile = requirement.latency_s, requirement.percentile
    if limit_s is None or percentile is None or percentile <= 0:
        return ""
    samples = choice.trial.latency_s
    if len(samples) < percentile_samples_needed(percentile / 100):
        return ""
    bound_s = percentile_bound(samples, percentile / 100)
    if bound_s <= limit_s:
        return ""
    return (
        f"It keeps the limit narrowly: the true p{percentile:g} may be up to"
        f" {format_duration(bound_s)} ({CONFIDENCE:.0%} confidence)."
    )


def _settled(choice: Assessment, found: Mapping[str, Elsewhere]) -> Iterable[str]:
    """What another condition says of strategies that were not measured here, by condition."""
    by_condition: dict[str, list[str]] = {}
    for id_, one in found.items():
        standing, blocks = one.comparison.standing, one.comparison.blocks
        if standing is Standing.EQUIVALENT:
            said = f"{id_} was shown to be as fast as {choice.id}, within {MARGIN:.0%}"
        elif standing is Standing.NOT_TOLD_APART:
            said = f"{id_} could not be told apart from {choice.id} in {blocks} blocks"
        else:
            slower = one.comparison.ratio.estimate - 1
            said = f"{id_} was shown to be {slower:.1%} slower than {choice.id}"
        by_condition.setdefault(under(one.condition), []).append(said)
    for where, said_there in by_condition.items():
        yield (
            f"{where[0].upper()}{where[1:]}, where every link that they use is as here,"
            f" {'; '.join(said_there)}."
        )
