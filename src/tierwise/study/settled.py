"""Contenders that another condition has settled already, so that only its choice is measured."""

from collections.abc import Collection
from dataclasses import replace

from tierwise.errors import TierwiseError
from tierwise.recommend.elsewhere import alike_for, measured_contenders
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend
from tierwise.store.results import StudyResults
from tierwise.tiers.topology import NetworkCondition


def settled_elsewhere(
    results: StudyResults, condition: NetworkCondition, contenders: Collection[str]
) -> frozenset[str]:
    """Which of ``contenders`` need not be measured under ``condition``, as another one is.

    Where another condition shapes every link alike that two contenders cross, and chose one of the
    two, measuring both again would be the same comparison. Its choice stays a contender, so
    what is recommended here is measured here.

    Args:
        results: With what was measured under other conditions.
        condition: What is going to be measured.
        contenders: Ids of what could be the best there.
    """
    best: frozenset[str] = frozenset()
    for twin, measured in measured_contenders(results).items():
        common = set(contenders) & set(measured)
        if twin == condition or len(common) < 2:
            continue
        chosen = _recommended(results, twin)
        if chosen is None or chosen not in common:
            continue
        settled = frozenset(
            other
            for other in common - {chosen}
            if alike_for(
                [measured[chosen].strategy, measured[other].strategy], results, condition, twin
            )
        )
        best = max(best, settled, key=len)
    return best


def _recommended(results: StudyResults, condition: NetworkCondition) -> str | None:
    asked = replace(Requirement.from_mapping(results.requirement), when=())
    try:
        return recommend(replace(results, conditions=(condition,)), asked).verdicts[0].recommended
    except TierwiseError:  # too few samples for the percentile that is required: nothing is chosen
        return None
