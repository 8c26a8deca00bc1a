from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from tierwise.errors import TooFewSamples
from tierwise.stats.wilcoxon import wilcoxon

RNG = np.random.default_rng(5)


def test_without_ties_it_is_scipys_exact_test():
    a, b = RNG.normal(size=40), RNG.normal(0.3, 1, size=40)
    result = wilcoxon(a, b)
    assert result.method == "exact"
    assert result.p == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue, rel=1e-9)


@given(npst.arrays(np.int64, st.integers(1, 9), elements=st.integers(-3, 3)))
def test_with_ties_it_counts_every_choice_of_signs(differences):
    result = wilcoxon(differences.astype(float), np.zeros(len(differences)))
    kept = differences[differences != 0]
    if not len(kept):
        assert result.p == 1.0
        return
    ranks = stats.rankdata(np.abs(kept))
    sums = np.array(
        [ranks[np.array(signs)].sum() for signs in product([True, False], repeat=len(kept))]
    )
    lower = min(result.positive_ranks, ranks.sum() - result.positive_ranks)
    assert result.p == pytest.approx(min(1.0, 2 * np.mean(sums <= lower + 1e-9)))
    assert result.zeros == len(differences) - len(kept)


def test_accuracy_per_input_is_mcnemars_exact_test():
    a = np.array([1.0] * 700 + [0.0] * 300)
    b = np.array([0.0] * 30 + [1.0] * 670 + [1.0] * 10 + [0.0] * 290)
    result = wilcoxon(a, b)
    assert result.method == "exact"
    assert result.p == pytest.approx(stats.binomtest(10, 40).pvalue)
    assert "960 without a difference left out" in str(result)
    assert "ties share their mean rank" in str(result)


def test_many_pairs_take_the_normal_approximation_and_say_so():
    a, b = RNG.normal(size=5000), RNG.normal(0.2, 1, size=5000)
    result = wilcoxon(a, b)
    assert result.method == "normal"
    expected = stats.wilcoxon(a, b, method="asymptotic", correction=True).pvalue
    assert result.p == pytest.approx(expected, rel=1e-6)


def test_no_pairs_are_refused():
    with pytest.raises(TooFewSamples, match="A paired test needs at least 1"):
        wilcoxon(np.empty(0), np.empty(0))
