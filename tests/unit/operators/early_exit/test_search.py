from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tierwise.operators.early_exit.search import ExitSet, best_within, greedy_path


def test_the_cheapest_block_per_saved_cost_goes_first():
    harm = {0: 0.4, 1: 0.1, 2: 0.2}
    path = greedy_path([0.1, 0.1, 0.1], lambda blocks: sum(harm[b] for b in blocks), most=1.0)
    assert [exits.blocks for exits in path] == [(1,), (1, 2), (0, 1, 2)]


def test_blocks_that_hurt_together_are_not_taken_together_while_another_is_better():
    def evaluate(blocks):
        return (
            0.1 * len(blocks)
            + (5.0 if {0, 1} <= set(blocks) else 0.0)
            + (0.2 if 2 in blocks else 0)
        )

    path = greedy_path([0.1, 0.1, 0.1], evaluate, most=0.2)
    assert path[-1].blocks in ((0, 2), (1, 2))


def test_the_search_stops_when_enough_is_saved():
    path = greedy_path([0.1] * 10, len, most=0.3 - 1e-12)
    assert len(path) == 3


@given(
    st.lists(st.floats(0.01, 0.3), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_every_set_was_evaluated_and_contains_the_one_before(saved, random):
    scores = {}

    def evaluate(blocks):
        return scores.setdefault(blocks, random.random())

    path = greedy_path(saved, evaluate, most=1.0)
    for exits in path:
        assert exits.divergence == scores[exits.blocks]
    for smaller, larger in pairwise(path):
        assert set(smaller.blocks) < set(larger.blocks)
        assert larger.saved > smaller.saved


def test_a_target_out_of_reach_gets_the_most_there_is():
    path = (ExitSet((0,), 0.1, 0.1), ExitSet((0, 1), 0.2, 0.5))
    assert best_within(path, 0.05) == path[0]
    assert best_within(path, 0.5) == path[-1]
    assert best_within((), 0.5) is None
