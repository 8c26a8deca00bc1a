"""In how many blocks a condition and its strategies were measured, in words and as JSON."""

import numpy as np

from tierwise.recommend.recommendation import ConditionVerdict
from tierwise.store.measured import Measured
from tierwise.store.results import StudyResults

# heuristic: one block in ten missed for failed requests does not make a median another one.
_AS_GOOD_AS_ALL = 0.9


def in_fewer_blocks(verdict: ConditionVerdict) -> dict[str, int]:
    """Strategies that have fewer blocks than others under the condition, and how many.

    They were left out at a look, when they were shown to be slower, or joined in a later round.
    Their medians are of other stretches of time than the others'; comparisons are not, which use
    only the blocks that both have.
    """
    blocks = {a.id: len(np.unique(a.trial.block)) for a in verdict.strategies if a.measured}
    most = max(blocks.values(), default=0)
    return {id_: count for id_, count in blocks.items() if count < _AS_GOOD_AS_ALL * most}


def measured_text(measured: Measured) -> str:
    """``"60 blocks: the time budget is spent; 2 of them disturbed"``."""
    said = f"{len(measured.blocks)} blocks"
    if measured.stopped:
        said += f": {measured.stopped}"
    if measured.disturbed:
        said += f"; {len(measured.disturbed)} of them disturbed"
    if measured.late_share is not None:
        said += f"; {measured.late_share:.1%} of the requests sent late"
    return said


def measured_json(results: StudyResults, verdict: ConditionVerdict) -> dict[str, object] | None:
    """How the condition was measured; ``None`` where it was not."""
    measured = results.measured.get(verdict.condition)
    if measured is None:
        return None
    return {
        "condition": verdict.condition.id,
        "blocks": len(measured.blocks),
        "requests": measured.requests,
        "failures": measured.failures,
        "late_share": measured.late_share,
        "stopped": measured.stopped or None,
        "warm_up": {
            "requests": measured.warm_up_requests,
            "unsettled": list(measured.unsettled),
        },
        "disturbed": [
            {"block": block.number, "why": list(block.disturbances)} for block in measured.disturbed
        ],
        "plan": dict(measured.plan),
        "rounds": [
            {
                "first_block": one.first_block,
                "looks": list(one.looks),
                "tests": one.tests,
                "chosen": {id_: why.value for id_, why in one.chosen.items()},
            }
            for one in results.rounds.get(verdict.condition, ())
        ],
        "in_fewer_blocks": in_fewer_blocks(verdict),
    }
