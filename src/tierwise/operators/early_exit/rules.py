"""Hand rules for what to skip: the study's, for comparison with the search."""

from collections.abc import Sequence

from tierwise.errors import ExitError
from tierwise.graph.blocks import ExitCandidate, runs

RULES = {"last-two": 2, "last-four": 4}


def last_of_last_stage(
    candidates: Sequence[ExitCandidate], blocks: int
) -> tuple[ExitCandidate, ...]:
    """The last ``blocks`` repeated blocks of the last stage that repeats that many.

    This is how arXiv 2403.17154 chose by hand ("skip the last two repeated blocks of the last
    stage"); four blocks are the same rule taken further. Where no stage is that long, blocks are
    taken from the stages before the last as well.

    Raises:
        ExitError: there are fewer than ``blocks`` candidates.
    """
    if len(candidates) < blocks:
        raise ExitError(
            f"The rule skips {blocks} blocks, but the model has {len(candidates)} to skip.",
            hint="Run `tierwise inspect MODEL --exits` to see them.",
            needed=blocks,
            got=len(candidates),
        )
    for stage in reversed(runs(candidates)):
        if len(stage) >= blocks:
            return stage[-blocks:]
    return tuple(candidates[-blocks:])
