"""Percentiles, only with the samples to back them."""

import math

import numpy as np
from jaxtyping import Float

from tierwise.errors import TooFewSamples
from tierwise.stats.binomial import binomial_quantile

CONFIDENCE = 0.99


def samples_needed(q: float) -> int:
    """Fewest samples that back percentile ``q``: p90 needs 44, p95 90, p99 459 at 99%.

    With ``n`` independent samples all of them are below the true percentile with probability
    ``q**n``; from the ``n`` with ``q**n <= 1%`` on, the largest sample is an upper
    bound. So ``n = ceil(log(0.01) / log(q))``.
    """
    return math.ceil(math.log(1.0 - CONFIDENCE) / math.log(q))


def percentile_bound(samples: Float[np.ndarray, " n"], q: float) -> float:
    """What percentile ``q`` of what ``samples`` are drawn from exceeds with a chance of at most 1%.

    The r-th smallest sample for the smallest r with ``P(Binomial(n, q) < r) >= 0.99``.

    Raises:
        TooFewSamples: fewer than :func:`samples_needed` (``.needed``, ``.got``).

    Source: W. J. Conover, Practical Nonparametric Statistics, 3rd ed., 1999, section 3.2.
    """
    n, needed = len(samples), samples_needed(q)
    if n < needed:
        raise TooFewSamples(f"p{100 * q:g} at {CONFIDENCE:.0%} confidence", needed=needed, got=n)
    # The smallest r - 1 with cdf(r - 1) >= CONFIDENCE, where cdf(r - 1) = P(X < r).
    r = binomial_quantile(CONFIDENCE, n, q) + 1
    return float(np.sort(samples)[min(r, n) - 1])
