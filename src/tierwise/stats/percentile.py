"""Percentiles, only with the samples to back them."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tierwise.errors import TooFewSamples
from tierwise.stats.binomial import binomial_quantile

CONFIDENCE = 0.99


@dataclass(frozen=True)
class PercentileBound:
    """A percentile with what the samples allow to say of the true one.

    Attributes:
        q: Which, in (0, 1).
        estimate: The samples' own percentile (linear interpolation).
        upper: An order statistic that the true percentile exceeds with a chance of at most
            ``1 - confidence``.
        confidence: Of that bound.
        n: Number of samples.
    """

    q: float
    estimate: float
    upper: float
    confidence: float
    n: int


def samples_needed(q: float, confidence: float = CONFIDENCE) -> int:
    """Fewest samples that back percentile ``q``: p90 needs 44, p95 90, p99 459 at 99%.

    With ``n`` independent samples all of them are below the true percentile with probability
    ``q**n``; from the ``n`` with ``q**n <= 1 - confidence`` on, the largest sample is an upper
    bound. So ``n = ceil(log(1 - confidence) / log(q))``.
    """
    return math.ceil(math.log(1.0 - confidence) / math.log(q))


def percentile_bound(
    samples: Float[np.ndarray, " n"], q: float, confidence: float = CONFIDENCE
) -> PercentileBound:
    """Percentile ``q`` of independent ``samples`` and its upper confidence bound.

    The bound is the r-th smallest sample for the smallest r with
    ``P(Binomial(n, q) < r) >= confidence``.

    Raises:
        TooFewSamples: fewer than :func:`samples_needed` (``.needed``, ``.got``).

    Source: W. J. Conover, Practical Nonparametric Statistics, 3rd ed., 1999, section 3.2.
    """
    n, needed = len(samples), samples_needed(q, confidence)
    if n < needed:
        raise TooFewSamples(f"p{100 * q:g} at {confidence:.0%} confidence", needed=needed, got=n)
    # ppf: the smallest r - 1 with cdf(r - 1) >= confidence, where cdf(r - 1) = P(X < r).
    r = binomial_quantile(confidence, n, q) + 1
    ordered = np.sort(samples)
    return PercentileBound(
        q=q,
        estimate=float(np.quantile(ordered, q)),
        upper=float(ordered[min(r, n) - 1]),
        confidence=confidence,
        n=n,
    )
