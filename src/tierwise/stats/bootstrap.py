"""Bootstrap intervals that resample inputs, not requests."""

import numpy as np
from jaxtyping import Float

from tierwise.errors import TooFewSamples
from tierwise.stats.median_interval import Interval

# heuristic: below this many values the percentile method's coverage is well under its name.
FEWEST_VALUES = 10


def bootstrap_median(values: Float[np.ndarray, " n"], *, resamples: int = 2000) -> Interval:
    """95% interval of the median of independent ``values``.

    One value an input, such as the median of its requests: five passes over the same 100 images
    are 100 independent observations, not 500, and an interval over requests would be too narrow.

    Raises:
        TooFewSamples: there are fewer than 10 values.

    Source: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997,
    section 3.8 (groups that are resampled whole); the percentile method.
    """
    n = len(values)
    if n < FEWEST_VALUES:
        raise TooFewSamples("A bootstrap interval", needed=FEWEST_VALUES, got=n)
    draws = np.random.default_rng(0).integers(0, n, (resamples, n))
    low, high = np.quantile(np.median(values[draws], axis=1), [0.025, 0.975])
    return Interval(float(low), float(np.median(values)), float(high), 0.95)
