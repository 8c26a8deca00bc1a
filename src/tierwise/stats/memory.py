"""What a memory of strategies of their own, from block to block, does to comparisons of pairs.

The variance of a mean of correlated values is the spectrum at frequency 0. It is estimated at the
lowest frequencies, by the mean square of the series' first ``d`` cosine transforms. These are
nearly independent and normal, so the mean divided by such an error follows Student's t with ``d``
degrees of freedom: how little a pair says of its own memory is part of its p-value.

All strategies together say more. Where they agree on how much correlation inflates a variance, an
inflation below their mean is drawn up to it, and is known the better for it: the moderated t.

Source: U. K. Müller, Journal of Business & Economic Statistics 32(3), 2014 (the transforms);
E. Lazarus, D. J. Lewis, J. H. Stock and M. W. Watson, the same journal 36(4), 2018 (how many);
G. K. Smyth, Statistical Applications in Genetics and Molecular Biology 3(1), 2004 (the moderated t:
mean and degrees of freedom of a scaled inverse chi-squared prior, here of inflations).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from jaxtyping import Float

from tierwise.stats.ranks import mean_ranks

# Lazarus et al., 2018: 0.4 n^(2/3) transforms balance the size of a test and its power.
_TRANSFORMS, _TRANSFORMS_POWER = 0.4, 2 / 3
# heuristic: with fewer, no difference however large is shown after a correction for many pairs.
_FEWEST_TRANSFORMS = 4
# heuristic: the lowest quarter of the frequencies says how the spectrum goes on towards 0.
_LOWEST_SHARE = 1 / 4
# heuristic: what others say counts at most half as much as what a pair says itself. With more, one
# strategy in twelve with a long memory raises false alarms (benchmarks/false_alarms.py).
_MOST_OF_OTHERS = 1 / 2
# heuristic: a pair beyond what one in ten has by chance is not like the others.
_UNLIKE = 0.9


@dataclass(frozen=True)
class Memory:
    """What all strategies say together of a memory of their own.

    Attributes:
        inflation: Mean over strategies of the inflation of the variance of a mean.
        worth: Degrees of freedom of that as a guess for one pair: low where strategies differ.
        degrees: Degrees of freedom that all strategies have together.
        rise: Factor, at least 1, that every inflation lacks: where a memory is long, the spectrum
            still rises below the frequencies that are averaged. One pair alone shows too little of
            that.
    """

    inflation: float = 1.0
    worth: float = 0.0
    degrees: float = 0.0
    rise: float = 1.0

    def inflations(
        self, series: Float[np.ndarray, "m n"]
    ) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Factor by which correlation inflates the variance of the mean of each row.

        It is drawn up to what all strategies say, never down: one with a longer memory than others
        would pass for one of them.

        Args:
            series: At least 2 values a row, in the order of the blocks, without NaN.

        Returns:
            The factors, and the degrees of freedom of each.
        """
        own, d = _inflations(series), degrees_of_freedom(series.shape[1])
        drawn = (self.worth * self.inflation + d * own) / (self.worth + d)
        known = max(d, min(d + self.worth, self.degrees))
        limit = self.inflation * scipy.special.fdtri(d, max(d, self.degrees), _UNLIKE)
        return self.rise * np.maximum(own, drawn), np.where(own <= limit, known, float(d))

    def t_p(self, series: Float[np.ndarray, "m n"]) -> Float[np.ndarray, " m"]:
        """Two-sided p of Student's t of the mean of each row, against 0."""
        inflation, degrees = self.inflations(series)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(np.var(series, axis=1, ddof=1) * inflation / series.shape[1])
            t = np.mean(series, axis=1) / error
        p: np.ndarray = 2.0 * scipy.special.stdtr(degrees, -np.abs(t))
        return np.where(np.isnan(p), 1.0, p)


def degrees_of_freedom(n: int) -> int:
    """How many transforms of ``n`` values say what the variance of their mean is."""
    wanted = round(_TRANSFORMS * math.pow(n, _TRANSFORMS_POWER))
    return min(n - 1, max(_FEWEST_TRANSFORMS, wanted))


def pooled_memory(logs: Float[np.ndarray, "n k"]) -> Memory:
    """What strategies that were measured in the same blocks say together.

    Args:
        logs: Logarithm of the latency of every block and strategy, in the order of the blocks.
    """
    n, k = logs.shape
    ranks = mean_ranks(np.ascontiguousarray(_block_residuals(logs).T))
    found, d = _inflations(ranks), degrees_of_freedom(n)
    # The logarithm of a mean of d squares of normal values varies by this much alone.
    chance = float(scipy.special.polygamma(1, d / 2))
    beyond = float(np.var(np.log(np.maximum(found, 1e-6)), ddof=1)) - chance
    most = _MOST_OF_OTHERS * d
    return Memory(
        inflation=float(np.mean(found)),
        worth=min(most, 2.0 * _trigamma_inverse(beyond)) if beyond > 0 else most,
        degrees=d * (k - 1.0),  # block medians are out, so about k - 1 series are left
        rise=_rise(ranks),
    )


def _block_residuals(log_values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """``log_values`` without the medians of blocks and then of strategies."""
    within = log_values - np.median(log_values, axis=1, keepdims=True)
    residuals: np.ndarray = within - np.median(within, axis=0, keepdims=True)
    return residuals


def _inflations(series: Float[np.ndarray, "m n"]) -> Float[np.ndarray, " m"]:
    """The long-run variance of each row over its variance, 1 where it has none."""
    variance = np.var(series, axis=1, ddof=1)
    long_run = np.mean(_low_powers(series), axis=1)
    factor: np.ndarray = np.where(variance > 0, long_run / np.maximum(variance, 1e-300), 1.0)
    return factor


def _rise(ranks: Float[np.ndarray, "k n"]) -> float:
    by_frequency = np.mean(_low_powers(ranks), axis=0)
    lowest = math.ceil(len(by_frequency) * _LOWEST_SHARE)
    mean = float(np.mean(by_frequency))
    return max(1.0, float(np.mean(by_frequency[:lowest])) / mean) if mean > 0 else 1.0


def _trigamma_inverse(x: float) -> float:
    """The ``y`` with ``trigamma(y) = x > 0``, by Newton's method on ``1 / trigamma``."""
    y = 0.5 + 1.0 / x
    for _ in range(50):
        value = float(scipy.special.polygamma(1, y))
        step = value * (1.0 - value / x) / float(scipy.special.polygamma(2, y))
        y += step
        if -step / y < 1e-8:
            break
    return y


def _low_powers(series: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "m d"]:
    """Squares of the first transforms of each row; each has the long-run variance as its mean.

    A constant that is added to a row changes nothing.
    """
    powers: np.ndarray = (series @ _cosines(series.shape[1])) ** 2
    return powers


@lru_cache(maxsize=64)
def _cosines(n: int) -> Float[np.ndarray, "n d"]:
    """The first cosines of the discrete transform II, orthonormal, without the constant."""
    place = np.arange(1, degrees_of_freedom(n) + 1) * np.pi / n
    return math.sqrt(2 / n) * np.cos((np.arange(n)[:, None] + 0.5) * place)
