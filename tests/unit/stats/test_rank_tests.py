import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from tierwise.errors import TooFewSamples
from tierwise.stats.cliffs_delta import Magnitude, cliffs_delta, paired_delta
from tierwise.stats.conover import conover
from tierwise.stats.corrections import bonferroni, holm
from tierwise.stats.kruskal import kruskal_wallis, pool_ranks
from tierwise.stats.shapiro import shapiro_wilk
from tierwise.stats.summary import summarize

RNG = np.random.default_rng(0)
SMALL = st.integers(0, 9).map(float)


def arrays(least=1):
    return npst.arrays(np.float64, st.integers(least, 30), elements=SMALL)


@given(st.lists(arrays(3), min_size=2, max_size=5))
@example([np.repeat([0.0, 1.0], [19, 3])] * 3)
def test_kruskal_wallis_equals_scipys_with_ties(groups):
    result = kruskal_wallis(pool_ranks(groups))
    if len(np.unique(np.concatenate(groups))) == 1:
        assert (result.statistic, result.p) == (0.0, 1.0)
        return
    expected = stats.kruskal(*groups)
    assert result.statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
    # Equal groups can have a statistic below 0 there, by rounding, and a p-value of NaN.
    p = 1.0 if expected.statistic < 0 else expected.pvalue
    assert result.p == pytest.approx(p, rel=1e-6, abs=1e-12)


@given(st.lists(arrays(2), min_size=2, max_size=4), st.floats(0.5, 5))
def test_rank_tests_do_not_see_the_unit(groups, unit):
    scaled = [group * unit for group in groups]
    found, expected = ([p.p for p in conover(pool_ranks(of))] for of in (scaled, groups))
    assert found == pytest.approx(expected)


def test_groups_that_do_not_overlap_or_vary_are_certain_not_an_error():
    pair, *_ = conover(pool_ranks([np.array([1.0, 1.0]), np.array([2.0, 2.0])]))
    assert (pair.p, pair.log10_p) == (0.0, -math.inf)


def test_groups_that_are_equal_do_not_differ():
    pair, *_ = conover(pool_ranks([np.array([1.0, 1.0]), np.array([1.0, 1.0])]))
    assert (pair.p, pair.log10_p) == (1.0, 0.0)


@given(arrays(), arrays())
def test_cliffs_delta_counts_every_pair(a, b):
    by_hand = np.sign(a[:, None] - b[None, :]).mean()
    assert cliffs_delta(a, b).delta == pytest.approx(by_hand)
    assert cliffs_delta(b, a).delta == -cliffs_delta(a, b).delta


@pytest.mark.parametrize(
    ("faster", "magnitude"),
    [
        (57, Magnitude.NEGLIGIBLE),
        (58, Magnitude.SMALL),
        (67, Magnitude.MEDIUM),
        (74, Magnitude.LARGE),
    ],
)
def test_magnitudes_start_at_their_limits(faster, magnitude):
    # Of 100 pairs, `faster` have b below a: delta = (2 * faster - 100) / 100.
    b = np.concatenate([np.zeros(faster), np.full(100 - faster, 2.0)])
    assert cliffs_delta(np.array([1.0]), b).magnitude is magnitude


def test_a_paired_delta_compares_within_pairs():
    a, b = np.array([1.0, 10.0, 100.0]), np.array([2.0, 11.0, 100.0])
    assert paired_delta(a, b).delta == pytest.approx(-2 / 3)


@given(npst.arrays(np.float64, st.integers(1, 20), elements=st.floats(0, 1)))
def test_holm_is_never_below_the_p_value_nor_above_bonferroni(p):
    assert np.all(p <= holm(p) + 1e-15)
    assert np.all(holm(p) <= bonferroni(p) + 1e-15)
    assert np.all(np.diff(holm(p)[np.argsort(p, kind="stable")]) >= 0)


def test_holm_equals_its_published_example():
    # S. Holm's procedure by hand: 0.01 * 4, 0.02 * 3, 0.03 * 2 (kept at 0.06), 0.04 (kept at 0.06).
    assert holm(np.array([0.03, 0.01, 0.04, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_too_few_samples_are_refused_with_the_number_needed():
    with pytest.raises(TooFewSamples, match="needs at least 2 samples, but there are 1"):
        summarize(np.array([1.0]))
    with pytest.raises(TooFewSamples, match="needs at least 2 samples, but there are 1"):
        pool_ranks([np.array([1.0])])
    with pytest.raises(TooFewSamples, match="Cliff's delta needs at least 1"):
        cliffs_delta(np.array([]), np.array([1.0]))


def test_normality_has_no_meaning_for_constants():
    assert shapiro_wilk(np.ones(10)) is None
    assert shapiro_wilk(np.array([1.0, 2.0])) is None
    assert summarize(np.ones(10)).shapiro_w is None
