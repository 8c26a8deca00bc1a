"""Which blocks to skip: the set with the most saved cost for the least lost fidelity."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class ExitSet:
    """A set of blocks to skip.

    Attributes:
        blocks: Indices of the candidates, ascending.
        saved: Share of the whole model's cost that goes away, 0 to 1.
        divergence: Divergence from the original on the search's data (see ``fidelity``).
    """

    blocks: tuple[int, ...]
    saved: float
    divergence: float


def greedy_path(
    saved: Sequence[float],
    evaluate: Callable[[tuple[int, ...]], float],
    most: float,
) -> tuple[ExitSet, ...]:
    """Skip one more block at a time, always the one that costs least fidelity per saved cost.

    The gain of a block is seldom better in a larger set than in a smaller one, so old scores are
    kept as optimistic bounds and only the head of the queue is evaluated again (lazy greedy:
    M. Minoux, 1978). Where that doesn't hold, a block comes a step later than it might have; the
    divergence of every returned set was evaluated on exactly that set.

    Args:
        saved: Share of cost that each candidate saves, 0 to 1.
        evaluate: Divergence of a set of candidates.
        most: Stop once this share is saved.

    Returns:
        The path: sets of 1, 2, 3, ... blocks, each containing the one before it.
    """
    path: list[ExitSet] = []
    chosen: tuple[int, ...] = ()
    reached, divergence = 0.0, 0.0
    tie = count()
    queue: list[tuple[float, int, int, int, float]] = []
    for block, share in enumerate(saved):
        if share > 0:
            alone = evaluate((block,))
            heapq.heappush(queue, (alone / share, next(tie), block, 0, alone))
    while queue and reached < most:
        rate, _, block, fresh_at, total = heapq.heappop(queue)
        if fresh_at != len(chosen):
            total = evaluate(tuple(sorted((*chosen, block))))
            rate = max(total - divergence, 0.0) / saved[block]
            heapq.heappush(queue, (rate, next(tie), block, len(chosen), total))
            continue
        chosen = tuple(sorted((*chosen, block)))
        reached += saved[block]
        divergence = total
        path.append(ExitSet(chosen, reached, divergence))
    return tuple(path)


def best_within(path: Sequence[ExitSet], target: float) -> ExitSet | None:
    """The set of ``path`` that saves at least ``target``, or the most that there is."""
    for exits in path:
        if exits.saved >= target - 1e-9:
            return exits
    return path[-1] if path else None
