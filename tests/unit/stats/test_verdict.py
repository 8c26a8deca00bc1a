import numpy as np
import pytest

from tierwise.errors import TooFewSamples
from tierwise.stats.block_pairs import own_memory
from tierwise.stats.verdict import ALPHA, Standing, block_values, compare_with_best

RNG = np.random.default_rng(17)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order():
    RNG.bit_generator.state = START


def blocks(ratios, n=60, noise=0.02, drift=1.0):
    """A machine that drifts by ``drift`` over the study, and little noise within blocks."""
    machine = np.exp(drift * np.linspace(0, 1, n) + 0.2 * RNG.normal(size=n))[:, None]
    return machine * np.array(ratios) * np.exp(noise * RNG.normal(size=(n, len(ratios))))


def names(k):
    return [f"s{i}" for i in range(k)]


def standings(ranks):
    return [rank.standing for rank in ranks]


def any_difference(ranks):
    return any(rank.standing.not_the_best for rank in ranks)


def test_a_small_difference_is_found_under_drift_many_times_its_size():
    ranks = compare_with_best(blocks([1.0, 1.05, 1.2]), names(3))
    assert [rank.name for rank in ranks] == ["s0", "s1", "s2"]
    assert standings(ranks) == [Standing.BEST, Standing.SLOWER, Standing.SLOWER]
    assert ranks[2].ratio.low < 1.2 < ranks[2].ratio.high


def test_a_difference_that_does_not_matter_is_said_to_be_one():
    ranks = compare_with_best(blocks([1.0, 1.015], n=200), names(2))
    assert ranks[1].standing is Standing.SLIGHTLY_SLOWER


def test_equals_are_shown_to_be_equal_with_enough_blocks_and_left_open_without():
    same = np.repeat(blocks([1.0], n=200), 2, axis=1) * np.exp(0.02 * RNG.normal(size=(200, 2)))
    assert compare_with_best(same, names(2))[1].standing is Standing.EQUIVALENT
    noisy = blocks([1.0, 1.0], n=8, noise=0.2)
    assert compare_with_best(noisy, names(2))[1].standing is Standing.NOT_TOLD_APART


@pytest.mark.parametrize("k", [2, 20])
def test_identical_strategies_on_a_drifting_machine_rarely_raise_an_alarm(k):
    alarms = sum(
        any_difference(compare_with_best(blocks([1.0] * k, n=30), names(k))) for _ in range(40)
    )
    assert alarms <= 3  # at 1% a count above 3 has a chance of 1 in 1,000


def test_strategies_with_a_memory_of_their_own_make_blocks_count_for_less():
    own = np.zeros((100, 20))
    for i in range(1, 100):
        own[i] = 0.7 * own[i - 1] + RNG.normal(size=20)
    ranks = compare_with_best(np.exp(own / 10), names(20))
    assert min(rank.effective_blocks for rank in ranks) < 40
    assert not any_difference(ranks)


def test_consistent_differences_are_found_where_drift_hits_strategies_unequally():
    values = blocks([1.0, 1.0, 1.5], n=300)
    values[:, 2] += np.linspace(0, 0.5, 300)
    values[:, 1] *= 1.08
    ranks = compare_with_best(values, names(3))
    assert standings(ranks[1:]) == [Standing.SLOWER, Standing.SLOWER]
    assert min(rank.effective_blocks for rank in ranks) < 150


def test_trials_that_missed_blocks_are_compared_over_those_they_share():
    values = blocks([1.0, 1.3, 1.0])
    values[::3, 1] = np.nan
    values[50:, 2] = np.nan
    slow = compare_with_best(values, names(3))[-1]
    assert (slow.name, slow.standing) == ("s1", Standing.SLOWER)
    assert slow.blocks in {33, 40}


def test_too_few_shared_blocks_are_refused_and_named():
    values = blocks([1.0, 1.3], n=20)
    values[7:, 1] = np.nan
    with pytest.raises(TooFewSamples, match=r"s\d with s\d \(blocks\) needs at least 8.*are 7"):
        compare_with_best(values, names(2))


def test_a_single_strategy_is_the_best():
    assert standings(compare_with_best(blocks([1.0]), names(1))) == [Standing.BEST]


def test_samples_become_one_value_a_block():
    latency_s = {"a": np.array([1.0, 3.0, 5.0]), "b": np.array([2.0, 4.0])}
    block = {"a": np.array([7, 7, 2]), "b": np.array([2, 9])}
    values = block_values(latency_s, block)
    np.testing.assert_array_equal(values, [[5.0, 2.0], [2.0, np.nan], [np.nan, 4.0]])


def test_many_strategies_do_not_take_long_to_compare():
    assert len(compare_with_best(blocks(np.linspace(1, 2, 120), n=100), names(120))) == 120


def test_what_is_faster_in_most_blocks_is_not_said_to_be_slower():
    a = np.linspace(1.0, 2.0, 100)
    b = 0.977 * a
    b[45:55] = 1.12 * a[45:55]
    values = RNG.permutation(np.stack([a, b], axis=1))
    best, other = compare_with_best(values, ["a", "b"])
    assert (best.name, other.name) == ("a", "b")
    assert other.p_holm < ALPHA
    assert other.ratio.estimate < 1
    assert not other.standing.not_the_best


def test_a_memory_is_seen_in_the_blocks_that_a_pair_shares_however_many_others_there_are():
    own = np.zeros((240, 4))
    for i in range(1, 240):
        own[i] = 0.9 * own[i - 1] + RNG.normal(size=4)
    values = np.exp(own / 10)
    alone = compare_with_best(values[:30], names(4), best="s0")
    values[30:, 1:] = np.nan  # measured in the first blocks only, as baselines are
    among = compare_with_best(values, names(4), best="s0")
    worth, expected = (
        {rank.name: rank.effective_blocks for rank in ranks if rank.name != "s0"}
        for ranks in (among, alone)
    )
    assert worth == expected
    assert {r.name: r.p_holm for r in among} == pytest.approx({r.name: r.p_holm for r in alone})


def test_a_memory_is_seen_where_no_block_has_every_strategy():
    own = np.zeros((120, 6))
    for i in range(1, 120):
        own[i] = 0.9 * own[i - 1] + RNG.normal(size=6)
    values = np.exp(own / 10)
    values[40:, 0] = np.nan  # left out at a look
    values[:60, 1] = np.nan  # came in later
    ranks = compare_with_best(values[:, 1:], names(5), looks=8)
    assert not any_difference(ranks)
    assert min(rank.effective_blocks for rank in ranks) < 30
    assert own_memory(np.log(values)).inflation > 2.5


def test_what_a_look_has_shown_is_not_taken_back_for_what_others_do_later():
    own = np.zeros((240, 2))
    for i in range(1, 240):
        own[i] = 0.97 * own[i - 1] + RNG.normal(size=2)
    values = blocks([1.0, 1.0, 1.3], n=240, noise=0.1)
    values[30:, :2] *= np.exp(own[30:] / 20)
    at_the_look = compare_with_best(values[:30], names(3), looks=8, best="s0")
    values[30:, 2] = np.nan  # left out there
    at_the_end = compare_with_best(values, names(3), looks=8, best="s0")
    (then,), (now,) = (
        [rank for rank in ranks if rank.name == "s2"] for ranks in (at_the_look, at_the_end)
    )
    assert then.standing is now.standing is Standing.SLOWER
    assert now.p_holm == pytest.approx(then.p_holm)
    assert now.ratio.low == pytest.approx(then.ratio.low)
    # The two that went on are judged by all that they did.
    (rank,) = [rank for rank in at_the_end if rank.name == "s1"]
    assert rank.effective_blocks < 60


@pytest.mark.parametrize("disturbed", [1.08, 1.0])
def test_what_was_left_out_for_one_that_is_not_the_best_at_the_end_is_not_the_best_either(
    disturbed,
):
    values = blocks([1.0, 1.0, 1.04], n=240)
    values[:30, 0] *= disturbed * np.exp(0.1 * RNG.normal(size=30))  # until the look
    values[30:, 0] *= 0.97
    at_the_look = compare_with_best(values[:30], names(3), looks=8)
    (left_out,) = [rank for rank in at_the_look if rank.name == "s2"]
    assert left_out.standing is Standing.SLOWER
    values[30:, 2] = np.nan
    best, *others = sorted(
        compare_with_best(values, names(3), looks=8), key=lambda rank: rank.standing.value
    )
    (left_out,) = [rank for rank in others if rank.name == "s2"]
    assert (best.name, best.standing) == ("s0", Standing.BEST)
    # By the disturbed blocks of the one with the most its median would be the lowest.
    assert (left_out.median_s < best.median_s) == (disturbed > 1)
    assert left_out.p_holm > ALPHA
    assert (left_out.standing, left_out.beaten_by) == (Standing.BEATEN, "s1")


def test_what_is_looked_at_often_needs_more_to_be_called_as_fast():
    same = np.repeat(blocks([1.0], n=40), 2, axis=1) * np.exp(0.02 * RNG.normal(size=(40, 2)))
    found = [compare_with_best(same, names(2), looks=looks)[1].standing for looks in (1, 1000)]
    assert found == [Standing.EQUIVALENT, Standing.NOT_TOLD_APART]
