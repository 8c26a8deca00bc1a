"""Equivalence: not "no difference was found" but "the difference is within 3%"."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tierwise.stats.median_interval import Interval, median_interval

MARGIN = 0.03


@dataclass(frozen=True)
class Equivalence:
    """How far apart two paired samples are, in ratio.

    Attributes:
        ratio: Interval of the median of ``a / b``, with confidence ``1 - 2 alpha``.
        margin: 0.03: the ratio may be between 1 / 1.03 and 1.03.
        alpha: Chance of calling equivalent what is not.
    """

    ratio: Interval
    margin: float
    alpha: float

    @property
    def holds(self) -> bool:
        """Whether the two are shown to be within the margin of each other."""
        return 1.0 / (1.0 + self.margin) < self.ratio.low and self.ratio.high < 1.0 + self.margin

    @property
    def excluded(self) -> bool:
        """Whether the two are shown to be further apart than the margin."""
        return self.ratio.low > 1.0 + self.margin or self.ratio.high < 1.0 / (1.0 + self.margin)


def equivalence(
    a_s: Float[np.ndarray, " n"],
    b_s: Float[np.ndarray, " n"],
    *,
    margin: float = MARGIN,
    alpha: float = 0.05,
    effective_n: int | None = None,
) -> Equivalence:
    """Test whether the paired latencies ``a_s`` and ``b_s`` are within ``margin`` of each other.

    Two one-sided tests at ``alpha`` each: the same as asking whether the interval of the median
    ratio with confidence ``1 - 2 alpha`` lies within the margin. The interval is of order
    statistics, so no shape is assumed.

    Args:
        a_s: Latencies in seconds, positive.
        b_s: Those of the same inputs or blocks, in the same order.
        margin: What makes no difference in practice.
        alpha: Chance of calling equivalent what is not.
        effective_n: How many independent pairs these count as, where they are correlated.

    Raises:
        TooFewSamples: fewer than 5 pairs at the default ``alpha``.

    Source: D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15(6), 1987.
    """
    log_ratio = median_interval(np.log(a_s / b_s), 1.0 - 2.0 * alpha, effective_n=effective_n)
    ratio = Interval(
        math.exp(log_ratio.low),
        math.exp(log_ratio.estimate),
        math.exp(log_ratio.high),
        log_ratio.confidence,
    )
    return Equivalence(ratio, margin, alpha)
