"""Which strategies can be told from the best, measured in randomised complete blocks.

This is what a recommendation rests on, so the chance of *any* false claim of a difference in a
study is kept under ``alpha``:

- Only differences within a block count, so a machine that drifts between blocks does not matter.
- Where the order within each block was random, identical strategies are exchangeable within it
  whatever the noise, and Wilcoxon's exact signed-rank test of a pair is valid.
- Strategies with a memory of their own would break that: blocks then count as fewer (see
  :func:`tierwise.stats.autocorrelation.variance_inflation`).
- Holm's correction runs over *all* pairs, not only those with the best: which strategy looks best
  is itself read from the data.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
import scipy
from jaxtyping import Float, Int

from tierwise.errors import TooFewSamples
from tierwise.stats.autocorrelation import block_residuals, is_correlated, variance_inflation
from tierwise.stats.corrections import holm
from tierwise.stats.equivalence import MARGIN, equivalence
from tierwise.stats.friedman import friedman
from tierwise.stats.median_interval import Interval, fewest_for_median
from tierwise.stats.omnibus import Omnibus
from tierwise.stats.wilcoxon import signed_rank_tail

# Bound on the chance that a study claims any difference that is not there. Below the promised 5%,
# since the effective number of blocks is only an estimate (benchmarks/false_alarms.py).
ALPHA = 0.01
# Two strategies can differ at 1% from 8 blocks on (2 / 2**8 = 0.008), more strategies from more on.
FEWEST_BLOCKS = 8
EQUIVALENCE_ALPHA = 0.05
# A run of blocks, however correlated, counts as at least as many as an interval of the ratio
# needs (5): a difference that only drifts in size is still one. Student's t with 4 degrees of
# freedom asks for so large a one that identical strategies with a long memory raise no alarms.
_FEWEST_WORTH = fewest_for_median(1 - 2 * EQUIVALENCE_ALPHA)
# From here on the normal approximation errs upward where it matters, far in the tail.
_LARGEST_EXACT_N = 100


class Standing(Enum):
    """How a strategy stands to the one with the lowest median; the value is what people read."""

    BEST = "best"
    EQUIVALENT = "as fast as the best"
    NOT_TOLD_APART = "cannot be told from the best"
    SLIGHTLY_SLOWER = "slower, but by less than matters"
    SLOWER = "slower"


@dataclass(frozen=True)
class Rank:
    """One strategy against the best.

    Attributes:
        name: Which strategy.
        median_s: Median of its blocks.
        standing: How it stands to the best.
        ratio: Interval of its latency over the best's, within blocks; 1 for the best itself.
        p_holm: Adjusted over all pairs of the study; 1 for the best itself.
        blocks: Blocks in which both were measured.
        effective_blocks: How many independent blocks those are worth.
    """

    name: str
    median_s: float
    standing: Standing
    ratio: Interval
    p_holm: float
    blocks: int
    effective_blocks: int

    @property
    def really_slower(self) -> bool:
        """Whether it is slower than the best beyond noise."""
        return self.standing in {Standing.SLOWER, Standing.SLIGHTLY_SLOWER}


@dataclass(frozen=True)
class BlockVerdict:
    """Which strategies can be told from the best.

    Attributes:
        ranks: From the lowest median up; the first is the best.
        any_difference: Whether any two strategies differ beyond noise. ``False``: no meaningful
            difference, whatever the medians look like.
        friedman: Over the complete blocks; ``None`` where there are fewer than 2.
        blocks: Number of blocks.
        effective_blocks: How many independent blocks they are worth to the pair with the best
            whose difference is the most correlated.
        margin: The ratio minus 1 that makes no difference in practice.
        alpha: Bound on the chance of any false claim of a difference.
    """

    ranks: tuple[Rank, ...]
    any_difference: bool
    friedman: Omnibus | None
    blocks: int
    effective_blocks: int
    margin: float
    alpha: float

    @property
    def best(self) -> Rank:
        """The strategy with the lowest median."""
        return self.ranks[0]

    @property
    def tied(self) -> tuple[str, ...]:
        """Strategies that are not shown to be slower than the best, the best first."""
        return tuple(rank.name for rank in self.ranks if not rank.really_slower)


def block_values(
    latency_s: Mapping[str, Float[np.ndarray, " _"]], block: Mapping[str, Int[np.ndarray, " _"]]
) -> Float[np.ndarray, "n k"]:
    """The median of every strategy in every block, NaN where it was not measured.

    Args:
        latency_s: Latencies by strategy.
        block: The block of every latency, by the same names.
    """
    numbers = sorted({int(number) for blocks in block.values() for number in blocks})
    row = {number: i for i, number in enumerate(numbers)}
    values = np.full((len(numbers), len(latency_s)), np.nan)
    for column, (name, latencies) in enumerate(latency_s.items()):
        order = np.argsort(block[name], kind="stable")
        found, starts = np.unique(block[name][order], return_index=True)
        for number, part in zip(found, np.split(latencies[order], starts[1:]), strict=True):
            values[row[int(number)], column] = np.median(part)
    return values


def compare_with_best(
    values_s: Float[np.ndarray, "n k"],
    names: Sequence[str],
    *,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    looks: int = 1,
    best: str | None = None,
) -> BlockVerdict:
    """Tell which of ``k`` strategies are slower than the best beyond noise.

    A strategy may have been left out from some block on; its median is then set right by what the
    one with the most blocks did in the same blocks.

    Args:
        values_s: Latency of every block and strategy, in the order of the blocks; positive, NaN
            where a strategy was not measured. See :func:`block_values`.
        names: Of the strategies.
        margin: A ratio within ``1 + margin`` makes no difference in practice.
        alpha: Bound on the chance that any claim of a difference is false.
        looks: How often the blocks are looked at before it is decided to stop, this time
            included; every p-value is multiplied by it.
        best: Which strategy to compare with; ``None``: the one with the lowest median.

    Raises:
        TooFewSamples: fewer than 8 blocks, or a strategy shares fewer than 8 with the best.
    """
    medians_s = comparable_medians_s(values_s)
    best_column = int(np.argmin(medians_s)) if best is None else list(names).index(best)
    logs = np.log(values_s)
    shared = np.sum(np.isfinite(logs) & np.isfinite(logs[:, [best_column]]), axis=0)
    if shared.min() < FEWEST_BLOCKS:
        raise TooFewSamples(
            f"A comparison of {names[int(np.argmin(shared))]} with {names[best_column]} (blocks)",
            needed=FEWEST_BLOCKS,
            got=int(shared.min()),
        )
    complete = logs[np.isfinite(logs).all(axis=1)]
    k = len(names)
    least = _least_inflation(logs, assumed=looks > 1)
    adjusted = np.minimum(1.0, looks * adjusted_p(values_s, memory_assumed=looks > 1))
    ranks = [
        _rank(
            values_s[:, [i, best_column]],
            names[i],
            float(medians_s[i]),
            float(adjusted[i, best_column]),
            is_best=bool(i == best_column),
            least_inflation=least,
            margin=margin,
            alpha=alpha,
            looks=looks,
        )
        for i in np.argsort(medians_s, kind="stable")
    ]
    return BlockVerdict(
        ranks=tuple(ranks),
        any_difference=bool(np.any(adjusted < alpha)),
        friedman=friedman(complete) if k > 1 and len(complete) > 1 else None,
        blocks=len(values_s),
        effective_blocks=min(rank.effective_blocks for rank in ranks),
        margin=margin,
        alpha=alpha,
    )


def comparable_medians_s(values_s: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Median of every strategy, as if each had been measured in every block.

    What a machine's drift did in the blocks that a strategy has is taken from the strategy with the
    most blocks. Where all have the same blocks these are their medians.
    """
    there = np.isfinite(values_s)
    medians_s: np.ndarray = np.nanmedian(values_s, axis=0)
    counts = there.sum(axis=0)
    reference = int(np.lexsort((medians_s, -counts))[0])
    drift = np.ones(len(medians_s))
    for i in np.flatnonzero(counts < counts[reference]):
        both = there[:, i] & there[:, reference]
        if both.any():
            drift[i] = np.median(values_s[both, reference]) / medians_s[reference]
    return medians_s / drift


def adjusted_p(
    values_s: Float[np.ndarray, "n k"], *, memory_assumed: bool = False
) -> Float[np.ndarray, "k k"]:
    """p-values of every pair of strategies, adjusted by Holm over all pairs; 1 on the diagonal.

    Since all pairs are adjusted for, any of them may be picked by looking at the same data, such as
    those with the fastest.

    Args:
        values_s: As in :func:`compare_with_best`.
        memory_assumed: Count correlated blocks as fewer without a test for correlation first.
    """
    logs = np.log(values_s)
    k = values_s.shape[1]
    adjusted = np.ones((k, k))
    adjusted[np.triu_indices(k, 1)] = holm(_all_pairs_p(logs, memory_assumed=memory_assumed))
    return np.minimum(adjusted, adjusted.T)


def _least_inflation(logs: Float[np.ndarray, "n k"], *, assumed: bool = False) -> float:
    """Inflation that every pair has at least; 1 where strategies have no memory of their own.

    The estimate of one pair is noisy, and among thousands of pairs the luckiest would win: on
    identical strategies with a memory, estimates by pair alone raised an alarm in 14 of 40 studies
    and in none of 30 with the mean over all strategies as the least.

    Where it is ``assumed`` no test for a memory comes first: of few strategies it misses a slow
    one, and repeated looks at them then found differences among equals.
    """
    complete = logs[np.isfinite(logs).all(axis=1)]
    if len(complete) < FEWEST_BLOCKS:
        return 1.0
    residuals = block_residuals(complete)
    return (
        float(np.mean(variance_inflation(residuals)))
        if assumed or is_correlated(residuals)
        else 1.0
    )


def _rank(
    pair_s: Float[np.ndarray, "n 2"],
    name: str,
    median_s: float,
    p_holm: float,
    *,
    is_best: bool,
    least_inflation: float,
    margin: float,
    alpha: float,
    looks: int,
) -> Rank:
    both = pair_s[np.isfinite(pair_s).all(axis=1)]
    n = len(both)
    if is_best:
        return Rank(name, median_s, Standing.BEST, Interval(1.0, 1.0, 1.0, 1.0), 1.0, n, n)
    log_ratio = np.log(both[:, [0]] / both[:, [1]])
    worth = int(_effective_blocks(log_ratio, np.array([n]), least_inflation)[0])
    near = equivalence(
        both[:, 0],
        both[:, 1],
        margin=margin,
        alpha=EQUIVALENCE_ALPHA,
        effective_n=worth,
    )
    holds = near.holds
    if holds and looks > 1:
        strict = EQUIVALENCE_ALPHA / looks
        holds = (
            worth >= fewest_for_median(1 - 2 * strict)
            and equivalence(
                both[:, 0], both[:, 1], margin=margin, alpha=strict, effective_n=worth
            ).holds
        )
    # What is faster in most blocks and yet has the higher median differs, but is not slower.
    if p_holm < alpha and near.ratio.estimate > 1:
        standing = Standing.SLIGHTLY_SLOWER if holds else Standing.SLOWER
    else:
        standing = Standing.EQUIVALENT if holds else Standing.NOT_TOLD_APART
    return Rank(name, median_s, standing, near.ratio, p_holm, n, worth)


def _all_pairs_p(
    logs: Float[np.ndarray, "n k"], *, memory_assumed: bool
) -> Float[np.ndarray, " pairs"]:
    """Two-sided p of every pair, over the blocks that it shares."""
    k = logs.shape[1]
    least = _least_inflation(logs, assumed=memory_assumed)
    columns = [_one_against(logs[:, i + 1 :] - logs[:, [i]], least) for i in range(k - 1)]
    return np.concatenate(columns or [np.empty(0)])


def _one_against(
    differences: Float[np.ndarray, "n m"], least_inflation: float
) -> Float[np.ndarray, " m"]:
    """:func:`_all_pairs_p` of the pairs that share one strategy."""
    # Pairs without a difference, or not measured, are left out: ranked last, with no weight.
    used = np.isfinite(differences) & (differences != 0)
    ranks = scipy.stats.rankdata(np.where(used, np.abs(differences), np.inf), axis=0)
    signed = np.sum(np.where(used, np.sign(differences) * ranks, 0.0), axis=0)
    counts = used.sum(axis=0)
    effective = _effective_blocks(differences, counts, least_inflation)
    p = np.ones(len(counts))
    for n, worth in set(zip(counts.tolist(), effective.tolist(), strict=True)):
        if n > 0:
            these = (counts == n) & (effective == worth)
            p[these] = _signed_rank_p(signed[these], n, worth)
    if least_inflation > 1:
        # Few effective blocks bound what signs alone can show, however far apart two strategies
        # are; so the size of the difference is asked too, and the better answer counts twice.
        p = np.minimum(1.0, 2.0 * np.minimum(p, _t_p(differences, effective)))
    return p


def _effective_blocks(
    differences: Float[np.ndarray, "n m"], counts: Int[np.ndarray, " m"], least_inflation: float
) -> Int[np.ndarray, " m"]:
    """How many independent blocks the ``counts`` of each pair are worth, at least 1."""
    if least_inflation <= 1:
        every: np.ndarray = np.maximum(1, counts)
        return every
    known = np.isfinite(differences)
    middle = np.array([np.median(column[there]) if there.any() else 0.0
                       for column, there in zip(differences.T, known.T, strict=True)])  # fmt: skip
    inflation = np.maximum(
        least_inflation, variance_inflation(np.where(known, differences, middle))
    )
    worth = np.maximum(_FEWEST_WORTH, np.round(counts / inflation)).astype(np.int64)
    effective: np.ndarray = np.minimum(np.maximum(1, counts), worth)
    return effective


def _t_p(
    differences: Float[np.ndarray, "n m"], effective: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Two-sided p of Student's t of each column, with the effective number of blocks."""
    used = np.isfinite(differences)
    counts = np.maximum(1, used.sum(axis=0))
    known = np.where(used, differences, 0.0)
    mean = known.sum(axis=0) / counts
    spread = np.sum(np.where(used, differences - mean, 0.0) ** 2, axis=0)
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
