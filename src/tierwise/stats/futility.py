"""Whether more blocks are worth it: the chance that they tell two strategies apart, or equal."""

import math
from statistics import NormalDist

import scipy

from tierwise.stats.equivalence import MARGIN
from tierwise.stats.median_interval import Interval
from tierwise.stats.memory import degrees_of_freedom

_NORMAL = NormalDist()


def chance_to_decide(
    ratio: Interval,
    blocks: int,
    last: int,
    *,
    alpha: float,
    equivalence_alpha: float,
    tests: int,
    pairs: int,
) -> float:
    """Predictive probability that ``last`` blocks show a difference, or that there is none.

    Ending early because this is low makes no claim, so it can't raise the chance of a false one.

    Args:
        ratio: Interval of one latency over the other, from the blocks so far.
        blocks: How many those are, at least 1.
        last: How many there can be, at least as many.
        alpha: Of a difference, over all looks and pairs.
        equivalence_alpha: Of equivalence, over all looks.
        tests: How many looks there are in all.
        pairs: How many pairs of strategies are tested at each.

    The logarithm of the ratio at the end is taken as normal around the present one, with the
    variance that the further blocks leave open; the tests at the end are Student's with the
    degrees of freedom of so many correlated blocks, and the corrections Bonferroni's.

    Source: D. J. Spiegelhalter, L. S. Freedman and P. R. Blackburn, Controlled Clinical Trials
    7(1), 1986.
    """
    if last <= blocks:
        return 0.0
    now = math.log(ratio.estimate)
    width = math.log(ratio.high) - math.log(ratio.low)
    error = max(width, 1e-9) / 2 / _NORMAL.inv_cdf((1 + ratio.confidence) / 2)
    at_end = error * math.sqrt(blocks / last)
    spread = math.sqrt(error**2 - at_end**2)
    degrees = degrees_of_freedom(last)
    least = -at_end * scipy.special.stdtrit(degrees, alpha / (2 * tests * max(pairs, 1)))
    apart = _NORMAL.cdf((now - least) / spread) + _NORMAL.cdf((-now - least) / spread)
    room = math.log1p(MARGIN) + at_end * scipy.special.stdtrit(degrees, equivalence_alpha / tests)
    if room <= 0:
        return apart
    equal = _NORMAL.cdf((room - now) / spread) - _NORMAL.cdf((-room - now) / spread)
    return apart + equal
