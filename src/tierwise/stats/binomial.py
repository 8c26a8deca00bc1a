"""The binomial distribution, from SciPy's special functions.

``scipy.stats.binom`` gives the same numbers; importing it is what every command would wait for.
"""

import math

from scipy import special


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for X of ``n`` trials with chance ``p``; 0 below 0."""
    return float(special.bdtr(k, n, p)) if k >= 0 else 0.0


def binomial_quantile(q: float, n: int, p: float) -> int:
    """The smallest k with P(X <= k) >= ``q``, for ``q`` in (0, 1)."""
    k = max(0, math.ceil(float(special.bdtrik(q, n, p))))
    # Where q is a value of the distribution itself, both functions may miss it by rounding: the
    # inverse ends one too far, and the distribution a few units of the last place (1e-12) short.
    return k - 1 if k > 0 and binomial_cdf(k - 1, n, p) >= q * (1 - 1e-12) else k
