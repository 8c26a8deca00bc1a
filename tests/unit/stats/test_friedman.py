import numpy as np
import pytest
from scipy import stats

from tierwise.errors import TooFewSamples
from tierwise.stats.friedman import conover_friedman, friedman, rank_within_blocks

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("ties", [False, True])
def test_friedman_equals_scipys(ties):
    blocks = RNG.normal(size=(40, 5))
    blocks = np.round(blocks) if ties else blocks
    expected = stats.friedmanchisquare(*blocks.T)
    result = friedman(rank_within_blocks(blocks))
    assert result.statistic == pytest.approx(expected.statistic)
    assert result.p == pytest.approx(expected.pvalue)


def test_two_groups_by_hand():
    # Conover 1999, 5.8, with k = 2: ranks (1, 2) in 9 of 10 blocks. A1 = 50, R = (11, 19),
    # t = |11 - 19| / sqrt(2 (10 * 50 - 482) / 9) = 4.
    blocks = np.tile([1.0, 2.0], (10, 1))
    blocks[0] = [2.0, 1.0]
    pair, *_ = conover_friedman(rank_within_blocks(blocks))
    assert pair.p == pytest.approx(2 * stats.t.sf(4.0, 9))


def test_groups_always_in_the_same_order_are_certain_and_equal_ones_do_not_differ():
    sure, *_ = conover_friedman(rank_within_blocks(np.tile([1.0, 2.0], (10, 1))))
    assert sure.p == 0.0
    ranked = rank_within_blocks(np.ones((10, 2)))
    same, *_ = conover_friedman(ranked)
    assert same.p == 1.0
    assert friedman(ranked).p == 1.0


def test_too_few_blocks_or_groups_are_refused():
    with pytest.raises(TooFewSamples, match=r"\(complete blocks\) needs at least 2"):
        rank_within_blocks(np.ones((1, 3)))
    with pytest.raises(TooFewSamples, match=r"\(groups\) needs at least 2"):
        rank_within_blocks(np.ones((3, 1)))
