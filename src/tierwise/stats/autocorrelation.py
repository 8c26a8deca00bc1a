"""How many independent blocks a run of blocks is worth."""

import math

import numpy as np
import scipy
from jaxtyping import Float

from tierwise.stats.ranks import mean_ranks

# heuristic: with fewer blocks no correlation can be estimated at all.
_FEWEST_BLOCKS = 8
# heuristic: from longer lags on, what is left after taking means out is mostly bias.
_LONGEST_LAG_SHARE = 1 / 4


def is_correlated(residuals: Float[np.ndarray, "n k"]) -> bool:
    """Whether strategies have a memory of their own, from one block to the next.

    What a machine's drift does to a whole block is gone from the residuals, and where the order
    within blocks is random, what it does within a block is not correlated between blocks. What is
    left is a link that drifts, a cache that fills, or strategies that drift hits unequally. The
    correlation of ranks between neighbouring blocks is pooled over all strategies and compared
    with its noise at about 2%, one-sided.

    Args:
        residuals: One value a block and strategy, in the order of the blocks, with block and
            strategy effects removed.
    """
    n, k = residuals.shape
    if n < _FEWEST_BLOCKS or k < 2:
        return False
    ranks = scipy.stats.rankdata(residuals, axis=0) - (n + 1) / 2.0
    variance = float(np.sum(ranks**2))
    if variance == 0:
        return False
    # Taking the means out costs 1 / n; block medians are out, so about k - 1 series are left.
    first = float(np.sum(ranks[1:] * ranks[:-1])) / variance + 1.0 / n
    return bool(first > 2.0 / math.sqrt(n * (k - 1)))


def variance_inflation(series: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " m"]:
    """Factor, at least 1, by which autocorrelation inflates the variance of each column's mean.

    Covariances of ranks are summed up to a quarter of the series. Taking the mean out lowers each
    by the long-run variance over ``n``, which is put back: ``V = sum / (1 - lags / n)``. The
    estimate's own noise, ``2 sqrt(lags / n)``, is added: the factor errs upward, and a claim of a
    difference errs towards "not told apart".

    Args:
        series: Differences of pairs of strategies, in the order of the blocks, without NaN.

    Source: G. V. Bayley and J. M. Hammersley, JRSS Supplement 8(2), 1946 (the effective number);
    T. W. Anderson, The Statistical Analysis of Time Series, 1971, section 8.2 (the bias).
    """
    n, m = series.shape
    if n < _FEWEST_BLOCKS:
        return np.ones(m)
    ranks = mean_ranks(np.ascontiguousarray(series.T)) - (n + 1) / 2.0
    variance = np.maximum(np.mean(ranks**2, axis=1), 1e-12)
    longest = max(1, int(n * _LONGEST_LAG_SHARE))
    # The sum over all lags at once: each value times what follows it within the longest.
    sums = np.cumsum(ranks, axis=1)
    following = sums[:, np.minimum(np.arange(n) + longest, n - 1)] - sums
    total = variance + 2.0 * np.sum(ranks * following, axis=1) / n
    long_run = np.maximum(total, 0.0) / (1.0 - (2 * longest + 1) / n)
    excess = np.maximum(long_run / (variance + long_run / n) - 1.0, 0.0)
    factor: np.ndarray = 1.0 + excess + 2.0 * math.sqrt(longest / n)
    return factor


def block_residuals(log_values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """``log_values`` without the medians of blocks and then of strategies."""
    within = log_values - np.median(log_values, axis=1, keepdims=True)
    residuals: np.ndarray = within - np.median(within, axis=0, keepdims=True)
    return residuals
