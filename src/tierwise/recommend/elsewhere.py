"""What was measured under another condition that differs only where two strategies don't go.

Under two conditions that shape every link alike that either of two strategies crosses, the two are
the same comparison: nothing that a request of either meets is different. What was shown once needs
not be measured again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tierwise.operators.strategy import Strategy
from tierwise.predict.traffic import crossed_links
from tierwise.recommend.ties import BlockComparison, compare_with
from tierwise.stats.verdict import ALPHA
from tierwise.store.results import Chosen, StudyResults, TrialResult
from tierwise.tiers.topology import NetworkCondition


@dataclass(frozen=True)
class Elsewhere:
    """How a strategy stands to another one, as measured under another condition.

    Attributes:
        condition: Where both were measured.
        comparison: Of the one with the other.
    """

    condition: NetworkCondition
    comparison: BlockComparison


def compared_elsewhere(
    results: StudyResults, condition: NetworkCondition, first: str, other: str
) -> Elsewhere | None:
    """How ``other`` stands to ``first`` where both were contenders, and all that they use is alike.

    Args:
        results: Of the study.
        condition: The condition that is asked about.
        first: Id of the strategy that ``other`` is compared with.
        other: Id of the other.

    Returns:
        By the most blocks; ``None`` where no such condition was measured, or ``other`` was shown to
        be faster there.
    """
    found = []
    for twin, contenders in measured_contenders(results).items():
        if twin == condition or not {first, other} <= set(contenders):
            continue
        pair = [contenders[first].strategy, contenders[other].strategy]
        if not alike_for(pair, results, condition, twin):
            continue
        rest = [trial for id_, trial in contenders.items() if id_ != first]
        comparison = compare_with(
            contenders[first], rest, results.tests(twin), results.contenders(twin)
        ).get(other)
        if comparison is None or (comparison.p_holm < ALPHA and comparison.ratio.estimate < 1):
            continue
        found.append(Elsewhere(twin, comparison))
    return max(found, key=lambda one: one.comparison.blocks, default=None)


def measured_contenders(
    results: StudyResults,
) -> dict[NetworkCondition, dict[str, TrialResult]]:
    """Contenders that were measured, by condition and id."""
    found: dict[NetworkCondition, dict[str, TrialResult]] = {}
    for trial in results.trials:
        if len(trial.latency_s) and results.chosen_as(trial) is Chosen.CONTENDER:
            found.setdefault(trial.condition, {})[trial.strategy.id] = trial
    return found


def alike_for(
    strategies: Sequence[Strategy],
    results: StudyResults,
    condition: NetworkCondition,
    twin: NetworkCondition,
) -> bool:
    """Whether two conditions shape every link alike that one of ``strategies`` crosses."""
    crossed = {link for one in strategies for link in crossed_links(one, results.topology)}
    return all(condition.shapes[link] == twin.shapes[link] for link in crossed)
