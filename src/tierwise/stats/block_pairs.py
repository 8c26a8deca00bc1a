"""p-values of every pair of strategies that were measured in the same randomised blocks.

Wilcoxon's signed-rank test on the log ratios within blocks. Where strategies have a memory of their
own from block to block, blocks count as fewer, and Student's t stands beside the signed ranks.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from tierwise.stats.autocorrelation import block_residuals, is_correlated, variance_inflation
from tierwise.stats.corrections import holm
from tierwise.stats.median_interval import fewest_for_median
from tierwise.stats.ranks import mean_ranks
from tierwise.stats.wilcoxon import signed_rank_tail

# Two strategies can differ at 1% from 8 blocks on (2 / 2**8 = 0.008), more strategies from more on.
FEWEST_BLOCKS = 8
EQUIVALENCE_ALPHA = 0.05
# A run of blocks, however correlated, counts as at least as many as an interval of the ratio
# needs (5): a difference that only drifts in size is still one. Student's t with 4 degrees of
# freedom asks for so large a one that identical strategies with a long memory raise no alarms.
_FEWEST_WORTH = fewest_for_median(1 - 2 * EQUIVALENCE_ALPHA)
# From here on the normal approximation errs upward where it matters, far in the tail.
_LARGEST_EXACT_N = 100
# heuristic: so many differences at once stay in a CPU's cache.
_DIFFERENCES_AT_ONCE = 2**17


def adjusted_p(logs: Float[np.ndarray, "n k"], least: float) -> Float[np.ndarray, "k k"]:
    """p-values of every pair of strategies, adjusted by Holm over all pairs; 1 on the diagonal.

    Since all pairs are adjusted for, any of them may be picked by looking at the same data, such as
    those with the fastest.

    Args:
        logs: Logarithm of the latency of every block and strategy, in the order of the blocks; NaN
            where a strategy was not measured.
        least: From :func:`least_inflation`.
    """
    k = logs.shape[1]
    series = np.ascontiguousarray(logs.T)
    a, b = np.triu_indices(k, 1)
    at_once = max(1, _DIFFERENCES_AT_ONCE // len(logs))
    parts = [
        _pairs_p(series[b[i : i + at_once]] - series[a[i : i + at_once]], least)
        for i in range(0, len(a), at_once)
    ]
    adjusted = np.ones((k, k))
    adjusted[a, b] = holm(np.concatenate(parts or [np.empty(0)]))
    return np.minimum(adjusted, adjusted.T)


def least_inflation(logs: Float[np.ndarray, "n k"], *, assumed: bool = False) -> float:
    """Inflation that every pair has at least; 1 where strategies have no memory of their own.

    The estimate of one pair is noisy, and among thousands of pairs the luckiest would win; so the
    mean over all strategies is the least.

    Where it is ``assumed`` no test for a memory comes first: of few strategies it misses a slow
    one, and repeated looks at them would find differences among equals.

    Args:
        logs: As in :func:`adjusted_p`.
        assumed: Count correlated blocks as fewer without a test for correlation first.
    """
    complete = _fullest(logs)
    if len(complete) < FEWEST_BLOCKS:
        return 1.0
    residuals = block_residuals(complete)
    return (
        float(np.mean(variance_inflation(residuals)))
        if assumed or is_correlated(residuals)
        else 1.0
    )


def effective_blocks(
    differences: Float[np.ndarray, "m n"], counts: Int[np.ndarray, " m"], least: float
) -> Int[np.ndarray, " m"]:
    """How many independent blocks the ``counts`` of each pair are worth, at least 1.

    Args:
        differences: Log ratios of every pair, in the order of the blocks, NaN where one is missing.
        counts: How many blocks each pair has.
        least: From :func:`least_inflation`.
    """
    if least <= 1:
        every: np.ndarray = np.maximum(1, counts)
        return every
    inflation = np.full(len(counts), least)
    for rows, known in _by_pattern(np.isfinite(differences)):
        own = variance_inflation(differences[np.ix_(rows, known)].T)
        inflation[rows] = np.maximum(least, own)
    worth = np.maximum(_FEWEST_WORTH, np.round(counts / inflation)).astype(np.int64)
    effective: np.ndarray = np.minimum(np.maximum(1, counts), worth)
    return effective


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


def _pairs_p(differences: Float[np.ndarray, "m n"], least: float) -> Float[np.ndarray, " m"]:
    """Two-sided p of every pair, over the blocks that it shares."""
    # Pairs without a difference, or not measured, are left out: ranked last, with no weight.
    used = np.isfinite(differences) & (differences != 0)
    ranks = mean_ranks(np.where(used, np.abs(differences), np.inf))
    signed = np.sum(np.where(used, np.copysign(ranks, differences), 0.0), axis=1)
    counts = used.sum(axis=1)
    effective = effective_blocks(differences, counts, least)
    p = np.ones(len(counts))
    for n, worth in set(zip(counts.tolist(), effective.tolist(), strict=True)):
        if n > 0:
            these = (counts == n) & (effective == worth)
            p[these] = _signed_rank_p(signed[these], n, worth)
    if least > 1:
        # Few effective blocks bound what signs alone can show, however far apart two strategies
        # are; so the size of the difference is asked too, and the better answer counts twice.
        p = np.minimum(1.0, 2.0 * np.minimum(p, _t_p(differences, effective)))
    return p


def _t_p(
    differences: Float[np.ndarray, "m n"], effective: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Two-sided p of Student's t of each pair, with the effective number of blocks."""
    used = np.isfinite(differences)
    counts = np.maximum(1, used.sum(axis=1))
    mean = np.sum(np.where(used, differences, 0.0), axis=1) / counts
    spread = np.sum(np.where(used, differences - mean[:, None], 0.0) ** 2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / np.sqrt(spread / np.maximum(1, counts - 1) / effective)
    p = 2.0 * scipy.special.stdtr(np.maximum(1, effective - 1), -np.abs(t))
    usable: np.ndarray = np.where((effective < 2) | np.isnan(p), 1.0, p)
    return usable


def _signed_rank_p(
    signed_sums: Float[np.ndarray, " m"], n: int, effective: int
) -> Float[np.ndarray, " m"]:
    """Two-sided p of sums of ``n`` signed ranks, counted as ``effective``.

    A sum is carried over to the effective number as the same share of the largest sum possible:
    its standard deviation is then what the correlated sum's is. Ties take the distribution
    without ties, which is wider, so p errs upward.
    """
    share = np.abs(signed_sums) / (n * (n + 1) / 2.0)
    most = effective * (effective + 1) / 2.0
    if effective <= _LARGEST_EXACT_N:
        # The smaller of W+ and W-, (most - |sum|) / 2, rounded up: p errs upward.
        smaller = np.ceil((1.0 - share) * most / 2.0 - 1e-9).astype(np.int64)
        one_sided = signed_rank_tail(effective)[smaller]
    else:
        one_sided = np.exp(scipy.special.log_ndtr(-share * most / _signed_sum_std(effective)))
    two_sided: np.ndarray = np.minimum(1.0, 2.0 * one_sided)
    return two_sided


@lru_cache(maxsize=1024)
def _signed_sum_std(n: int) -> float:
    return math.sqrt(n * (n + 1) * (2 * n + 1) / 6.0)
