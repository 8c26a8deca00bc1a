"""Equivalence: not "no difference was found" but "the difference is within 3%"."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tierwise.stats.median_interval import Interval, median_interval

# A ratio within ``1 + MARGIN``, and within its inverse, makes no difference in practice.
MARGIN = 0.03


@dataclass(frozen=True)
class Equivalence:
    """How far apart two paired samples are, in ratio.

    Attributes:
        ratio: Interval of the median of ``a / b``, with confidence ``1 - 2 alpha``.
    """

    ratio: Interval

    @property
    def holds(self) -> bool:
        """Whether the two are shown to be within the margin of each other."""
        return self.ratio.low > 1.0 / (1.0 + MARGIN) and self.ratio.high < 1.0 + MARGIN


def equivalence(
    a_s: Float[np.ndarray, " n"],
    b_s: Float[np.ndarray, " n"],
    *,
    alpha: float = 0.05,
    effective_n: int | None = None,
) -> Equivalence:
    """Test whether the paired latencies ``a_s`` and ``b_s`` are within 3% of each other.

    Two one-sided tests at ``alpha`` each: the same as asking whether the interval of the median
    ratio with confidence ``1 - 2 alpha`` lies within the margin. The interval is of order
    statistics, so no shape is assumed.

    Args:
        a_s: Latencies in seconds, positive.
        b_s: Those of the same inputs or blocks, in the same order.
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
    return Equivalence(ratio)
