"""Whether strategies have a memory of their own, from one block to the next."""

import math

import numpy as np
import scipy
from jaxtyping import Float

# heuristic: with fewer blocks no correlation can be estimated at all.
_FEWEST_BLOCKS = 8


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


def block_residuals(log_values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """``log_values`` without the medians of blocks and then of strategies."""
    within = log_values - np.median(log_values, axis=1, keepdims=True)
    residuals: np.ndarray = within - np.median(within, axis=0, keepdims=True)
    return residuals
