"""p-values of every pair of strategies that were measured in the same randomised blocks.

Student's t of the log ratios within blocks and of their signed ranks, with an error that a memory
of their own from block to block does not lower (:mod:`tierwise.stats.memory`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from tierwise.stats.corrections import holm
from tierwise.stats.median_interval import fewest_for_median
from tierwise.stats.memory import Memory, pooled_memory
from tierwise.stats.ranks import mean_ranks

# heuristic: with fewer blocks no correlation can be estimated at all.
FEWEST_BLOCKS = 8
EQUIVALENCE_ALPHA = 0.05
# However correlated, blocks count as at least as many as an interval of the ratio needs (5).
_FEWEST_WORTH = fewest_for_median(1 - 2 * EQUIVALENCE_ALPHA)
# heuristic: so many differences at once stay in a CPU's cache.
_DIFFERENCES_AT_ONCE = 2**17


def adjusted_p(
    logs: Float[np.ndarray, "n k"], memory: Memory, joined: Sequence[int] = ()
) -> Float[np.ndarray, "k k"]:
    """p-values of every pair of strategies, adjusted by Holm over all pairs; 1 on the diagonal.

    Since all pairs are adjusted for, any of them may be picked by looking at the same data, such as
    those with the fastest.

    Where strategies joined in rounds, a pair is adjusted for the pairs of those that were there
    when the later of the two joined: what was shown before others came is not taken back.

    Args:
        logs: Logarithm of the latency of every block and strategy, in the order of the blocks; NaN
            where a strategy was not measured.
        memory: From :func:`own_memory`.
        joined: The round in which each strategy joined; empty: all in one.
    """
    rounds = np.array(joined or [0] * logs.shape[1])
    adjusted = np.ones((len(rounds), len(rounds)))
    for one in np.unique(rounds):
        there = np.flatnonzero(rounds <= one)
        new = rounds[there] == one
        among = np.ix_(there, there)
        known = adjusted[among]
        adjusted[among] = np.where(new | new[:, None], _all_pairs_p(logs[:, there], memory), known)
    return adjusted


def _all_pairs_p(logs: Float[np.ndarray, "n k"], memory: Memory) -> Float[np.ndarray, "k k"]:
    k = logs.shape[1]
    series = np.ascontiguousarray(logs.T)
    a, b = np.triu_indices(k, 1)
    at_once = max(1, _DIFFERENCES_AT_ONCE // len(logs))
    parts = [
        _pairs_p(series[b[i : i + at_once]] - series[a[i : i + at_once]], memory)
        for i in range(0, len(a), at_once)
    ]
    adjusted = np.ones((k, k))
    adjusted[a, b] = holm(np.concatenate(parts or [np.empty(0)]))
    return np.minimum(adjusted, adjusted.T)


def own_memory(logs: Float[np.ndarray, "n k"]) -> Memory:
    """The memory that strategies have of their own.

    No test for one comes first: of few strategies, or of one among many, it would miss a slow one.

    Args:
        logs: As in :func:`adjusted_p`.
    """
    complete = _fullest(logs)
    return pooled_memory(complete) if len(complete) >= FEWEST_BLOCKS else Memory()


def effective_blocks(log_ratio: Float[np.ndarray, " n"], memory: Memory, alpha: float) -> int:
    """How many independent blocks ``n`` are worth to an interval of the median ratio, at least 1.

    Args:
        log_ratio: Of a pair, in the order of the blocks, without NaN.
        memory: From :func:`own_memory`.
        alpha: Of either end of the interval: since the inflation is only estimated, its end is
            Student's and not the normal distribution's.
    """
    n = len(log_ratio)
    if n < FEWEST_BLOCKS:
        return max(1, n)
    inflation, degrees = memory.inflations(mean_ranks(log_ratio[None, :]))
    normal, student = scipy.special.ndtri(alpha), scipy.special.stdtrit(degrees[0], alpha)
    worth = n / max(1.0, float(inflation[0])) * (normal / student) ** 2
    return min(n, max(_FEWEST_WORTH, round(float(worth))))


def _fullest(logs: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "_ _"]:
    """The largest complete part: some strategies may have been left out, or come in, on the way.

    The blocks of one of the strategies, with all others that were measured in them. Block effects
    are taken out, so one strategy alone says nothing and two say as much as one pair.
    """
    there = np.isfinite(logs)
    best, most = logs[:0], 0
    for blocks in np.unique(there, axis=1).T:
        columns = there[blocks].all(axis=0)
        size = int(blocks.sum()) * (int(columns.sum()) - 1)
        if blocks.sum() >= FEWEST_BLOCKS and size > most:
            best, most = logs[np.ix_(blocks, columns)], size
    return best


def _by_pattern(
    known: Bool[np.ndarray, "m n"],
) -> Iterator[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]]:
    """Rows that have the same places, and these places."""
    if known.all():
        yield np.arange(len(known)), np.arange(known.shape[1])
        return
    packed = np.packbits(known, axis=1)
    _, first, which = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    for pattern, row in enumerate(first):
        yield np.flatnonzero(which.ravel() == pattern), np.flatnonzero(known[row])


def _pairs_p(differences: Float[np.ndarray, "m n"], memory: Memory) -> Float[np.ndarray, " m"]:
    """Two-sided p of every pair, over the blocks that it shares.

    Of the means of log ratios and of their signed ranks; the better counts twice. Ranks bound what
    an outlier does, and the ratios show what ranks can't: how far apart two are.
    """
    p = np.ones(len(differences))
    for rows, known in _by_pattern(np.isfinite(differences)):
        if len(known) >= FEWEST_BLOCKS:
            here = differences[np.ix_(rows, known)]
            signed = np.copysign(mean_ranks(np.abs(here)), here) * (here != 0)
            p[rows] = np.minimum(1.0, 2.0 * np.minimum(memory.t_p(here), memory.t_p(signed)))
    return p
