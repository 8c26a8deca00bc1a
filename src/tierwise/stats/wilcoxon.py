"""Wilcoxon's signed-rank test for pairs, exact wherever that can be computed."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from jaxtyping import Float

from tierwise.errors import TooFewSamples
from tierwise.stats.ranks import ranks_of
from tierwise.stats.tails import log10_of

# heuristic: the exact distribution takes O(n^3) additions; up to here nobody waits for them.
LARGEST_EXACT_N = 200


@dataclass(frozen=True)
class PairedTest:
    """Whether pairs differ in one direction.

    Attributes:
        pairs: Number of pairs.
        zeros: Pairs without a difference; they are left out, as Wilcoxon did.
        ties: Whether other differences are equal in size (they share their mean rank).
        method: ``"exact"``: the distribution of these very ranks, ties included; ``"normal"``:
            its approximation with tie and continuity correction.
        positive_ranks: Sum of the ranks of the positive differences (W+).
        p: Two-sided; 1 where no pair differs.
        log10_p: Its base-10 logarithm.
    """

    pairs: int
    zeros: int
    ties: bool
    method: str
    positive_ranks: float
    p: float
    log10_p: float

    def __str__(self) -> str:
        said = [f"{self.pairs} pairs", f"{self.zeros} without a difference left out"]
        said.append("ties share their mean rank" if self.ties else "no ties")
        return f"Wilcoxon signed-rank, {self.method} ({', '.join(said)}): p = {self.p:.3g}"


def wilcoxon(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> PairedTest:
    """Test whether ``a[i] - b[i]`` tends to one side of 0.

    For accuracy per input (0 or 1) all differences are of one size and the test is McNemar's
    exact test. Assumes that a difference is as likely positive as negative where nothing
    differs.

    Args:
        a: One value an input, finite.
        b: The same inputs, in the same order.

    Raises:
        TooFewSamples: there are no pairs.

    Source: F. Wilcoxon, Biometrics Bulletin 1(6), 1945; the exact distribution with ties by the
    generating function of the doubled ranks (Streitberg and Roehmel, 1986).
    """
    if len(a) < 1:
        raise TooFewSamples("A paired test", needed=1, got=0)
    difference = a - b
    difference = difference[difference != 0]
    zeros, n = len(a) - len(difference), len(difference)
    if n == 0:
        return PairedTest(len(a), zeros, ties=False, method="exact", positive_ranks=0.0, p=1.0,
                          log10_p=0.0)  # fmt: skip
    ranks = ranks_of(np.abs(difference))
    ties = len(np.unique(ranks)) < n
    w = float(ranks[difference > 0].sum())
    if ties and len(np.unique(ranks)) == 1:
        method, log_p = "exact", _log_sign_p(int(np.sum(difference > 0)), n)
    elif n <= LARGEST_EXACT_N:
        method, log_p = "exact", _log_exact_p(ranks, w)
    else:
        method, log_p = "normal", _log_normal_p(ranks, w)
    return PairedTest(len(a), zeros, ties, method, w, math.exp(log_p), log10_of(log_p))


def _log_sign_p(positive: int, n: int) -> float:
    """Two-sided exact sign test."""
    fewer = min(positive, n - positive)
    ways = sum(math.comb(n, i) for i in range(fewer + 1))
    return min(0.0, math.log(2 * ways) - n * math.log(2))


def _log_exact_p(ranks: Float[np.ndarray, " n"], w: float) -> float:
    doubled = np.round(2 * ranks).astype(np.int64)  # ties make halves
    chances = _sum_chances(tuple(doubled.tolist()))
    total = int(doubled.sum())
    lower = min(round(2 * w), total - round(2 * w))
    return min(0.0, math.log(2.0) + math.log(float(chances[: lower + 1].sum())))


@lru_cache(maxsize=64)
def _sum_chances(values: tuple[int, ...]) -> Float[np.ndarray, " _"]:
    """Chance of each sum of a random half of ``values``, every one taken with chance 1/2."""
    chances = np.zeros(sum(values) + 1)
    chances[0] = 1.0
    reach = 0
    for value in values:
        reach += value
        taken = chances[: reach + 1 - value].copy()
        chances[: reach + 1] *= 0.5
        chances[value : reach + 1] += 0.5 * taken
    return chances


def _log_normal_p(ranks: Float[np.ndarray, " n"], w: float) -> float:
    distance = max(0.0, abs(w - ranks.sum() / 2.0) - 0.5)
    z = distance / (math.sqrt(float(np.sum(ranks**2))) / 2.0)
    return min(0.0, math.log(2.0) + float(scipy.special.log_ndtr(-z)))
