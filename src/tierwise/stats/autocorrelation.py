"""How many independent blocks a run of blocks is worth."""

import math

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

# heuristic: with fewer blocks no correlation can be estimated at all.
_FEWEST_BLOCKS = 8
# heuristic: from longer lags on, what is left after taking means out is mostly bias.
_LONGEST_LAG_SHARE = 1 / 4
# heuristic: a test of 4,950 pairs looks 4.6 standard deviations out, where an inflation that is
# estimated 20% too low makes 6 times the false alarms; so what exceeds 1 counts twice. The
# benchmark's "own memory" lines show what is left (benchmarks/false_alarms.py).
_CAUTION = 2.0


def variance_inflation(residuals: Float[np.ndarray, "n k"]) -> float:
    """Factor, at least 1, by which autocorrelation inflates the variance of a mean over blocks.

    What a machine's drift does to a whole block is gone from the residuals, and where the order
    within blocks is random, what it does within a block is not correlated between blocks: the
    factor is then 1. It is more where strategies have a memory of their own (a link that drifts, a
    cache that fills).

    The covariances of ranks are pooled over all strategies. Where the first lag stands out from
    noise, they are summed up to a quarter of the series. Taking a strategy's mean out lowers each
    by the long-run variance over ``n``, which is put back: ``V = sum / (1 - lags / n)``.

    Args:
        residuals: One value a block and strategy, in the order of the blocks, with block and
            strategy effects removed.

    Source: G. V. Bayley and J. M. Hammersley, JRSS Supplement 8(2), 1946 (the effective number);
    T. W. Anderson, The Statistical Analysis of Time Series, 1971, section 8.2 (the bias).
    """
    n, k = residuals.shape
    if n < _FEWEST_BLOCKS or k < 2:
        return 1.0
    ranks = rankdata(residuals, axis=0) - (n + 1) / 2.0
    variance = float(np.sum(ranks**2)) / (n * k)
    if variance == 0:
        return 1.0
    longest = max(1, int(n * _LONGEST_LAG_SHARE))
    covariances = [
        float(np.sum(ranks[lag:] * ranks[:-lag])) / (n * k) for lag in range(1, longest + 1)
    ]
    # Block medians are out, so the columns hold about k - 1 independent series.
    if covariances[0] / variance + 1.0 / n < 2.0 / math.sqrt(n * (k - 1)):
        return 1.0
    long_run = (variance + 2.0 * sum(covariances)) / (1.0 - (2 * longest + 1) / n)
    inflation = long_run / (variance + long_run / n)
    return float(1.0 + _CAUTION * max(0.0, inflation - 1.0))


def block_residuals(log_values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """``log_values`` without the medians of blocks and then of strategies."""
    within = log_values - np.median(log_values, axis=1, keepdims=True)
    residuals: np.ndarray = within - np.median(within, axis=0, keepdims=True)
    return residuals
