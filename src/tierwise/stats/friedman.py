"""Friedman: do groups differ within blocks, and which of them?"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tierwise.errors import TooFewSamples
from tierwise.stats.conover import PairP
from tierwise.stats.omnibus import Omnibus
from tierwise.stats.ranks import mean_ranks
from tierwise.stats.tails import chi2_log_sf, log10_of, t_log_sf


@dataclass(frozen=True)
class BlockRanks:
    """Ranks within blocks, reduced to what block tests need of them.

    Attributes:
        n: Number of blocks.
        rank_sums: Of each group over all blocks, shape ``(k,)``.
        squares: Sum of all squared ranks (Conover's A1); smaller with ties.
        statistic: Friedman's chi-squared, corrected for ties; 0 where every block is all ties.
    """

    n: int
    rank_sums: np.ndarray
    squares: float
    statistic: float

    @property
    def k(self) -> int:
        """Number of groups."""
        return len(self.rank_sums)


def rank_within_blocks(blocks: Float[np.ndarray, "n k"]) -> BlockRanks:
    """Rank the ``k`` groups within each of ``n`` complete blocks.

    Raises:
        TooFewSamples: there are fewer than 2 groups or 2 blocks.
    """
    n, k = blocks.shape
    for what, got in (("groups", k), ("complete blocks", n)):
        if got < 2:
            raise TooFewSamples(f"A comparison within blocks ({what})", needed=2, got=got)
    ranks = mean_ranks(blocks)
    sums = ranks.sum(axis=0)
    squares = float(np.sum(ranks**2))
    centre = n * k * (k + 1) ** 2 / 4.0  # Conover's C1
    spread = squares - centre
    between = float(np.sum((sums - n * (k + 1) / 2.0) ** 2))
    return BlockRanks(n, sums, squares, (k - 1) * between / spread if spread > 0 else 0.0)


def friedman(ranked: BlockRanks) -> Omnibus:
    """Test whether at least one group tends to larger values within blocks.

    What hurts a whole block (a drifting machine, a heavy input) does not touch the ranks within
    it. Where the order within blocks was random, the test holds under any autocorrelation.

    Source: M. Friedman, JASA 32(200), 1937; ties as in W. J. Conover, Practical Nonparametric
    Statistics, 3rd ed., 1999, section 5.8. The p-value is the chi-squared approximation.
    """
    log_p = chi2_log_sf(ranked.statistic, ranked.k - 1)
    return Omnibus(
        test="friedman",
        k=ranked.k,
        n=ranked.n,
        statistic=ranked.statistic,
        p=math.exp(log_p),
        log10_p=log10_of(log_p),
    )


def conover_friedman(ranked: BlockRanks) -> tuple[PairP, ...]:
    """Compare every pair of groups on their ranks within blocks, after Friedman.

    Chosen over Nemenyi's test, which throws away what the groups explain and so finds less. The
    p-values are not adjusted: pass them through :func:`tierwise.stats.corrections.holm`.

    Source: W. J. Conover, Practical Nonparametric Statistics, 3rd ed., 1999, section 5.8.
    """
    n, k = ranked.n, ranked.k
    degrees = (n - 1) * (k - 1)
    unexplained = 2.0 * (n * ranked.squares - float(np.sum(ranked.rank_sums**2))) / degrees
    error = math.sqrt(max(0.0, unexplained))
    pairs = []
    for a, b in zip(*np.triu_indices(k, 1), strict=True):
        distance = abs(float(ranked.rank_sums[a] - ranked.rank_sums[b]))
        t = 0.0 if distance == 0 else distance / error if error > 0 else math.inf
        log_p = min(0.0, math.log(2.0) + t_log_sf(t, degrees))
        pairs.append(PairP(int(a), int(b), math.exp(log_p), log10_of(log_p)))
    return tuple(pairs)
