"""The binomial distribution: exact for fair coins, else from SciPy's special functions.

``scipy.stats.binom`` gives the same numbers. Importing it, or ``scipy.special``, is what every
command would wait for; and all of them need the ranks of a median's interval.
"""

import math

import scipy

# heuristic: sums of integers of so many bits take milliseconds; beyond it floats do as well.
_MOST_EXACT_N = 1000


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for X of ``n`` trials with chance ``p``; 0 below 0."""
    if k < 0:
        return 0.0
    if p == 0.5 and n <= _MOST_EXACT_N:
        # Of whole numbers, so exact but for the last rounding.
        return float(sum(math.comb(n, i) for i in range(min(k, n) + 1)) / 2**n)
    return float(scipy.special.bdtr(k, n, p))


def binomial_quantile(q: float, n: int, p: float) -> int:
    """The smallest k with P(X <= k) >= ``q``, for ``q`` in (0, 1)."""
    if p == 0.5 and n <= _MOST_EXACT_N:
        return _fair_quantile(q, n)
    k = max(0, math.ceil(float(scipy.special.bdtrik(q, n, p))))
    # Where q is a value of the distribution itself, both functions may miss it by rounding: the
    # inverse ends one too far, and the distribution a few units of the last place (1e-12) short.
    return k - 1 if k > 0 and binomial_cdf(k - 1, n, p) >= q * (1 - 1e-12) else k


def _fair_quantile(q: float, n: int) -> int:
    # q itself may be a value of the distribution that was rounded up.
    asked, total = q * (1 - 1e-12), 0
    for k in range(n + 1):
        total += math.comb(n, k)
        if total / 2**n >= asked:
            return k
    return n
