import numpy as np

from tierwise.measure.precision import Precision
from tierwise.measure.sample import Block, Sample
from tierwise.measure.sequence import input_of_block, order_of_block

RNG = np.random.default_rng(4)


def block(index, input_index, latencies_s):
    samples = tuple(Sample("a", index, input_index, x, {}, {}, 0.0) for x in latencies_s)
    return Block(index, input_index, ("a",), samples)


def test_inputs_count_and_not_their_repeats():
    # 5 inputs that differ by far more than their repeats: 100 blocks say no more of them than 5.
    precision = Precision(0.95)
    for i in range(100):
        precision.add(block(i, i % 5, [1.0 + i % 5]))
    assert precision.intervals() == {}
    assert not precision.within(0.02, ["a"])


def test_requests_of_one_visit_count_by_their_median():
    precision = Precision(0.95, [block(i, i, [1.0, 1.0, 99.0]) for i in range(10)])
    assert precision.intervals()["a"].high == 1.0
    assert precision.within(0.02, ["a"])
    assert not precision.within(0.02, ["a", "never measured"])


def test_every_input_comes_once_a_lap_and_laps_differ():
    laps = [[input_of_block(3, lap * 20 + i, 20) for i in range(20)] for lap in range(3)]
    assert all(sorted(lap) == list(range(20)) for lap in laps)
    assert laps[0] != laps[1]


def test_orders_are_even_over_all_places():
    firsts = [order_of_block(8, i, "abcd", warm_up=False)[0] for i in range(2000)]
    assert all(abs(firsts.count(name) - 500) < 100 for name in "abcd")


def test_separate_seeds_for_warm_up_and_blocks():
    warm = [order_of_block(8, i, "abcdefgh", warm_up=True) for i in range(5)]
    assert warm != [order_of_block(8, i, "abcdefgh", warm_up=False) for i in range(5)]
