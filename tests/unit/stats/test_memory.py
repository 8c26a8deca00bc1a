"""What a memory of strategies of their own does to the p-value of a pair."""

import numpy as np
import pytest
from scipy.fft import dct
from scipy.signal import lfilter
from scipy.special import polygamma

from tierwise.stats.block_pairs import adjusted_p, own_memory
from tierwise.stats.memory import Memory, _trigamma_inverse, degrees_of_freedom, pooled_memory

N = 120


def processes(rng, correlation, series, n=N):
    """First-order autoregressive, standard deviation 1, one a column."""
    shocks = rng.normal(size=(n, series)) * np.sqrt(1 - correlation**2)
    shocks[0] /= np.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], shocks, axis=0)


def test_the_inflation_is_the_mean_square_of_scipys_first_cosine_transforms():
    walk = np.cumsum(np.random.default_rng(5).normal(size=N))
    d = degrees_of_freedom(N)
    low = dct(walk, type=2, norm="ortho")[1 : d + 1]
    factors, degrees = Memory().inflations(walk[None, :])
    assert factors[0] == pytest.approx(np.mean(low**2) / np.var(walk, ddof=1), rel=1e-12)
    assert degrees.tolist() == [d]


@pytest.mark.parametrize(("n", "degrees"), [(3, 2), (8, 4), (30, 4), (60, 6), (120, 10), (240, 15)])
def test_degrees_of_freedom_follow_the_published_rule(n, degrees):
    assert degrees_of_freedom(n) == degrees


@pytest.mark.parametrize(("correlation", "times"), [(0.0, 1.0), (0.5, 1.2), (0.8, 4.0)])
def test_p_values_of_correlated_series_are_about_as_frequent_as_they_say(correlation, times):
    """Of a long memory the lowest frequencies of few blocks see a part."""
    p = Memory().t_p(processes(np.random.default_rng(1), correlation, 20_000).T)
    for level in (0.05, 0.001):
        assert np.mean(p < level) < times * level + 3 * np.sqrt(level / len(p))


def test_independent_blocks_are_hardly_inflated_and_a_memory_is_seen():
    rng = np.random.default_rng(2)
    alone = pooled_memory(processes(rng, 0.0, 12))
    long = pooled_memory(processes(rng, 0.8, 12))
    assert alone.inflation == pytest.approx(1.0, abs=0.35)
    assert 4 < long.inflation < 12  # (1 + 0.8) / (1 - 0.8) = 9
    assert long.rise > alone.rise >= 1


def test_where_strategies_agree_a_pair_is_known_better_and_is_drawn_up_never_down():
    rng = np.random.default_rng(3)
    series = processes(rng, 0.0, 200).T
    agreed = pooled_memory(processes(rng, 0.0, 12))
    own, d = Memory().inflations(series)
    drawn, degrees = agreed.inflations(series)
    assert agreed.worth == d[0] / 2  # at the most, since one may be unlike all others
    assert np.all(drawn >= own * (1 - 1e-12))
    assert degrees.max() == d[0] + agreed.worth
    assert degrees.min() == d[0]  # those that have more than the others' by more than chance


def test_where_strategies_differ_their_mean_says_less_of_one():
    rng = np.random.default_rng(4)
    mixed = np.concatenate([processes(rng, 0.0, 8), processes(rng, 0.97, 8)], axis=1)
    assert pooled_memory(mixed).worth < pooled_memory(processes(rng, 0.0, 16)).worth


def test_what_the_lowest_frequencies_still_lack_inflates_every_variance():
    series = processes(np.random.default_rng(3), 0.5, 20).T
    factors, _ = Memory().inflations(series)
    assert np.allclose(Memory(rise=1.7).inflations(series)[0], 1.7 * factors)


def test_the_better_of_two_tests_counts_twice():
    rng = np.random.default_rng(0)
    p = np.array([adjusted_p(rng.laplace(size=(60, 2)), Memory())[0, 1] for _ in range(2000)])
    assert 0.025 < np.mean(p < 0.05) < 0.055  # counted once, 0.073


def test_two_strategies_are_one_pair_that_no_other_knows_better():
    both = processes(np.random.default_rng(6), 0.3, 2)
    _, degrees = pooled_memory(both).inflations((both[:, 1] - both[:, 0])[None, :])
    assert degrees.tolist() == [degrees_of_freedom(N)]


def test_a_clear_difference_is_shown_after_a_correction_for_many_pairs():
    rng = np.random.default_rng(7)
    logs = 0.05 * rng.normal(size=(N, 24))
    logs[:, 1:] += 0.09
    p = adjusted_p(logs, own_memory(logs))
    assert p[0, 1:].max() < 0.01
    assert p[1:, 1:].min() > 0.05


def test_what_was_shown_in_a_round_is_not_taken_back_when_others_join():
    rng = np.random.default_rng(8)
    logs = 0.05 * rng.normal(size=(60, 20))
    logs[:, 1] += 0.06
    memory = own_memory(logs)
    alone = adjusted_p(logs[:, :3], memory)
    joined = adjusted_p(logs, memory, joined=[0] * 3 + [1] * 17)
    together = adjusted_p(logs, memory)
    assert joined[:3, :3] == pytest.approx(alone)
    np.testing.assert_array_equal(joined[3:], together[3:])
    assert joined[0, 1] < together[0, 1]


def test_nothing_varies_and_nothing_is_claimed():
    same = np.zeros((N, 3))
    assert adjusted_p(same, own_memory(same)).min() == 1
    assert np.isnan(pooled_memory(same).inflation) == 0


@pytest.mark.parametrize("y", [0.6, 2.0, 30.0])
def test_the_inverse_of_the_trigamma_function(y):
    assert _trigamma_inverse(float(polygamma(1, y))) == pytest.approx(y, rel=1e-7)
