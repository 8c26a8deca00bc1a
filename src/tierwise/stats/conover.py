"""Conover's post hoc test: which of the groups differ, after Kruskal-Wallis."""

import math
from dataclasses import dataclass

import numpy as np

from tierwise.stats.kruskal import PooledRanks
from tierwise.stats.tails import log10_of, t_log_sf


@dataclass(frozen=True)
class PairP:
    """The unadjusted p-value of one pair of groups.

    Attributes:
        a: Index of the first group.
        b: Index of the second, ``a < b``.
        p: Two-sided; 0 where it underflows.
        log10_p: Its base-10 logarithm, exact where ``p`` is 0; ``-inf`` only for groups that do
            not overlap and do not vary.
    """

    a: int
    b: int
    p: float
    log10_p: float


def conover(pooled: PooledRanks) -> tuple[PairP, ...]:
    """Compare every pair of groups on the ranks of all groups together.

    The p-values are not adjusted: pass them through :func:`tierwise.stats.corrections.holm`.

    Source: W. J. Conover, Practical Nonparametric Statistics, 3rd ed., 1999, section 5.2: with
    the pooled variance reduced by what H explains, Student's t on n - k degrees of freedom.
    """
    k, n = len(pooled.sizes), pooled.n
    degrees = n - k
    if degrees < 1:
        return tuple(PairP(a, b, 1.0, 0.0) for a in range(k) for b in range(a + 1, k))
    unexplained = max(0.0, (n - 1 - pooled.h) / degrees)
    a, b = np.triu_indices(k, 1)
    distance = np.abs(pooled.mean_ranks[a] - pooled.mean_ranks[b])
    error = np.sqrt(pooled.variance * unexplained * (1.0 / pooled.sizes[a] + 1.0 / pooled.sizes[b]))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(distance == 0, 0.0, distance / error)
    log_p = [min(0.0, math.log(2.0) + t_log_sf(float(value), degrees)) for value in t]
    return tuple(
        PairP(int(i), int(j), math.exp(value), log10_of(value))
        for i, j, value in zip(a, b, log_p, strict=True)
    )
