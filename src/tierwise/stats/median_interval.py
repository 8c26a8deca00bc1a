"""Confidence intervals of the median from order statistics: no assumption about the shape."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from tierwise.errors import TooFewSamples
from tierwise.stats.binomial import binomial_cdf, binomial_quantile


@dataclass(frozen=True)
class Interval:
    """An interval with its point estimate and the confidence that it really has."""

    low: float
    estimate: float
    high: float
    confidence: float

    @property
    def relative_width(self) -> float:
        """``(high - low) / |estimate|``; infinite where the estimate is 0 but the width is not."""
        width = self.high - self.low
        if width == 0:
            return 0.0
        return width / abs(self.estimate) if self.estimate != 0 else float("inf")


def fewest_for_median(confidence: float = 0.95) -> int:
    """How many samples an interval of the median needs: 6 at 95%, 8 at 99%.

    The widest interval, from the smallest to the largest sample, covers the median with
    probability ``1 - 2 / 2**n``.
    """
    return int(np.ceil(1 - np.log2(1 - confidence)))


def median_interval(
    samples: Float[np.ndarray, " n"], confidence: float = 0.95, *, effective_n: int | None = None
) -> Interval:
    """Interval that covers the population's median with at least ``confidence``.

    Independent samples. The interval runs from the j-th smallest to the j-th largest sample, for
    the largest j with ``P(Binomial(n, 1/2) < j) <= (1 - confidence) / 2``.

    Args:
        samples: Finite.
        confidence: At least this.
        effective_n: How many independent samples these count as, where they are correlated: the
            ranks are then those of so many samples, spread over all.

    Raises:
        TooFewSamples: see :func:`fewest_for_median`.

    Source: H. A. David and H. N. Nagaraja, Order Statistics, 3rd ed., 2003, section 7.1.
    """
    n = len(samples)
    counted = n if effective_n is None else min(n, effective_n)
    needed = fewest_for_median(confidence)
    if counted < needed:
        raise TooFewSamples(
            f"A {confidence:.0%} interval of the median", needed=needed, got=counted
        )
    j, achieved = _rank(counted, confidence)
    # The share of samples below the lower end stays; rounded outward.
    j = max(1, j * n // counted)
    ordered = np.sort(samples)
    return Interval(
        low=float(ordered[j - 1]),
        estimate=float(np.median(ordered)),
        high=float(ordered[n - j]),
        confidence=achieved,
    )


def median_ranks(n: int) -> tuple[int, int]:
    """Places, from 0, of the ends of a 95% :func:`median_interval` among ``n`` ordered samples."""
    j, _ = _rank(n, 0.95)
    return j - 1, n - j


@lru_cache(maxsize=4096)
def _rank(n: int, confidence: float) -> tuple[int, float]:
    """The rank j of the lower end, from 1, and the confidence that it really gives."""
    tail = (1 - confidence) / 2
    # The smallest j with cdf(j) >= tail, so cdf(j - 1) < tail; one more where they are equal.
    j = binomial_quantile(tail, n, 0.5)
    if binomial_cdf(j, n, 0.5) <= tail:
        j += 1
    return j, 1 - 2 * binomial_cdf(j - 1, n, 0.5)
