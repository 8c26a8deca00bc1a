import numpy as np
import pytest
from scipy.stats import binom

from tierwise.stats.binomial import binomial_cdf, binomial_quantile


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
def test_a_quantile_is_the_smallest_value_that_reaches_its_level(p):
    for n in (1, 2, 7, 30, 459, 5000):
        # Also levels that are values of the distribution, where inverses are off by one.
        at = binom.cdf(np.arange(0, n, max(1, n // 7)), n, p)
        for q in (0.005, 0.025, 0.5, 0.975, 0.99, *at[(at > 1e-9) & (at < 1 - 1e-9)]):
            k = binomial_quantile(float(q), n, p)
            assert binom.cdf(k, n, p) >= q * (1 - 1e-11)
            assert k == 0 or binom.cdf(k - 1, n, p) < q * (1 + 1e-11)
        assert binomial_cdf(n // 2, n, p) == pytest.approx(binom.cdf(n // 2, n, p), rel=1e-9)
    assert binomial_cdf(-1, 5, p) == 0.0


def test_the_middle_of_an_odd_number_of_coins_is_a_half_exactly():
    """P(X <= 229) of 459 is 1/2; rounding must not make it the next value."""
    assert binomial_quantile(0.5, 459, 0.5) == 229
