"""Logarithms of upper tails, exact where the tail itself is too small for a float.

SciPy's generic ``logsf`` is ``log(sf)`` for these distributions and gives ``-inf`` once ``sf``
underflows (about 1e-308), which a test of a few hundred latencies reaches easily.
"""

import math
from collections.abc import Callable

import numpy as np
import scipy

_LN10 = math.log(10.0)
# Below this a double loses bits to gradual underflow; the continued fractions take over.
_SMALLEST_TRUSTED = 1e-290
# Convergence takes O(sqrt(max(a, b))) terms (Press et al., Numerical Recipes, 3rd ed., 6.4): about
# 1,000 for a million degrees of freedom.
_MOST_TERMS = 100_000
_TINY = 1e-300


def log10_of(log_p: float) -> float:
    """Base-10 logarithm from a natural one."""
    return log_p / _LN10


def chi2_log_sf(x: float, degrees: float) -> float:
    """Natural logarithm of ``P(X > x)`` for a chi-squared variable.

    Source: Legendre's continued fraction of the incomplete gamma function, DLMF 8.9.2, evaluated
    by Lentz's method.
    """
    if x <= 0:
        return 0.0
    a, half = degrees / 2.0, x / 2.0
    direct = float(scipy.special.gammaincc(a, half))
    if direct > _SMALLEST_TRUSTED:
        return math.log(direct)
    if math.isinf(x):
        return -math.inf
    # Q(a, x) = exp(-x) x^a / Gamma(a) * 1/(x+1-a - 1(1-a)/(x+3-a - 2(2-a)/(x+5-a - ...)))
    fraction = _lentz(
        first=half + 1.0 - a,
        numerator=lambda i: -i * (i - a),
        denominator=lambda i: half + 2.0 * i + 1.0 - a,
    )
    return -half + a * math.log(half) - math.lgamma(a) - math.log(fraction)


def t_log_sf(t: float, degrees: float) -> float:
    """Natural logarithm of ``P(T > t)`` for Student's t.

    Source: ``P(T > t) = I_x(degrees / 2, 1 / 2) / 2`` with ``x = degrees / (degrees + t^2)``
    (DLMF 8.17; Abramowitz and Stegun 26.7.1).
    """
    if t < 0:
        return math.log1p(-math.exp(t_log_sf(-t, degrees)))
    direct = float(scipy.special.stdtr(degrees, -t))
    if direct > _SMALLEST_TRUSTED:
        return math.log(direct)
    if math.isinf(t):
        return -math.inf
    x = degrees / (degrees + t * t)
    return _log_beta_tail(degrees / 2.0, 0.5, x) - math.log(2.0)


def _log_beta_tail(a: float, b: float, x: float) -> float:
    """Logarithm of the regularised incomplete beta function ``I_x(a, b)``.

    Source: the continued fraction of DLMF 8.17.22, evaluated by Lentz's method, which
    converges for ``x < (a + 1) / (a + b + 2)``: true wherever ``I_x`` is tiny.
    """

    def numerator(i: int) -> float:
        m = i // 2
        if i % 2 == 0:
            return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))

    fraction = _lentz(first=1.0, numerator=numerator, denominator=lambda _: 1.0)
    log_front = (
        a * math.log(x) + b * math.log1p(-x) - math.log(a) - float(scipy.special.betaln(a, b))
    )
    return log_front - math.log(fraction)


def _lentz(
    *, first: float, numerator: Callable[[int], float], denominator: Callable[[int], float]
) -> float:
    """The continued fraction ``first + n(1)/(d(1) + n(2)/(d(2) + ...))``, modified Lentz."""
    value = first if first != 0 else _TINY
    c, d = value, 0.0
    for i in range(1, _MOST_TERMS):
        top, bottom = numerator(i), denominator(i)
        d = bottom + top * d
        d = 1.0 / (d if d != 0 else _TINY)
        c = bottom + top / c
        c = c if c != 0 else _TINY
        step = c * d
        value *= step
        if abs(step - 1.0) < np.finfo(float).eps * 4:
            break
    return value
