import numpy as np
import pytest
from scipy.stats import rankdata

from tierwise.stats.ranks import mean_ranks


@pytest.mark.parametrize("decimals", [-1, 0, 1, 15])
def test_ranks_are_scipys_with_and_without_ties(decimals):
    series = np.random.default_rng(3).normal(size=(20, 50)).round(decimals)
    np.testing.assert_array_equal(mean_ranks(series), rankdata(series, axis=1))


def test_what_is_missing_is_ranked_last_and_changes_nothing_else():
    series = np.array([[3.0, np.inf, 1.0, np.inf, 1.0]])
    np.testing.assert_array_equal(mean_ranks(series)[0, [0, 2, 4]], [3.0, 1.5, 1.5])
    assert mean_ranks(np.empty((2, 0))).shape == (2, 0)
