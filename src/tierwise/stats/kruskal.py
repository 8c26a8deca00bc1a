"""Kruskal-Wallis: do independent groups differ at all?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tierwise.errors import TooFewSamples
from tierwise.stats.omnibus import Omnibus
from tierwise.stats.ranks import ranks_of
from tierwise.stats.tails import chi2_log_sf, log10_of


@dataclass(frozen=True)
class PooledRanks:
    """Ranks of all samples together, reduced to what rank tests need of them.

    Attributes:
        sizes: Samples of each group, shape ``(k,)``.
        mean_ranks: Mean rank of each group, shape ``(k,)``; ties share their mean rank.
        variance: Variance of all ranks with ``ddof=1`` (Conover's S squared).
        h: Kruskal-Wallis' H, corrected for ties; 0 where all samples are equal.
    """

    sizes: np.ndarray
    mean_ranks: np.ndarray
    variance: float
    h: float

    @property
    def n(self) -> int:
        """Number of samples in all groups."""
        return int(self.sizes.sum())


def pool_ranks(groups: Sequence[Float[np.ndarray, " _"]]) -> PooledRanks:
    """Rank all samples of at least 2 groups together.

    Raises:
        TooFewSamples: there are fewer than 2 groups, or one is empty.
    """
    if len(groups) < 2:
        raise TooFewSamples("A comparison of groups (groups)", needed=2, got=len(groups))
    sizes = np.array([len(group) for group in groups])
    if sizes.min() < 1:
        raise TooFewSamples("Each group of a rank test", needed=1, got=int(sizes.min()))
    ranks = ranks_of(np.concatenate(groups))
    n = len(ranks)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    mean_ranks = np.add.reduceat(ranks, starts) / sizes
    centre = (n + 1) / 2.0
    variance = float(np.sum((ranks - centre) ** 2) / (n - 1))
    between = float(np.sum(sizes * (mean_ranks - centre) ** 2))
    # The tie correction is in the variance: H = (n - 1) * between / within-all (Conover, 5.2).
    h = between / variance if variance > 0 else 0.0
    return PooledRanks(sizes=sizes, mean_ranks=mean_ranks, variance=variance, h=h)


def kruskal_wallis(pooled: PooledRanks) -> Omnibus:
    """Test whether at least one of the groups tends to larger samples.

    Independent samples; for samples paired by input use
    :func:`tierwise.stats.friedman.friedman`. The p-value is the chi-squared approximation, which
    wants about 5 samples a group.

    Source: W. Kruskal and W. A. Wallis, JASA 47(260), 1952.
    """
    k = len(pooled.sizes)
    log_p = chi2_log_sf(pooled.h, k - 1)
    return Omnibus(
        test="kruskal-wallis",
        k=k,
        n=pooled.n,
        statistic=pooled.h,
        p=math.exp(log_p),
        log10_p=log10_of(log_p),
    )
