import numpy as np
import pytest

from tierwise.operators.early_exit.fidelity import divergence


def scores(*rows):
    return [{"y": np.array([row], dtype=np.float32)} for row in rows]


def test_equal_outputs_do_not_diverge():
    assert divergence(scores([1, 2, 3]), scores([1, 2, 3])) == pytest.approx([0.0])


def test_a_shift_of_all_logits_is_no_difference():
    assert divergence(scores([1, 2, 3]), scores([11, 12, 13])) == pytest.approx([0.0], abs=1e-9)


def test_logits_are_compared_by_the_divergence_of_their_softmax():
    # softmax([0, ln 3]) = (1/4, 3/4); KL((1/4, 3/4) || (1/2, 1/2)) by hand
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    got = divergence(scores([0, np.log(3)]), scores([0, 0]))
    assert got == pytest.approx([expected], rel=1e-6)


def test_probabilities_are_taken_as_they_are():
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert divergence(scores([0.25, 0.75]), scores([0.5, 0.5])) == pytest.approx(
        [expected], rel=1e-6
    )


def test_other_outputs_are_compared_by_relative_energy():
    assert divergence(scores([2.0]), scores([1.0])) == pytest.approx([0.25])


def test_integer_outputs_are_counted_where_they_differ():
    a, b = [{"y": np.array([1, 2, 3, 4])}], [{"y": np.array([1, 2, 0, 0])}]
    assert divergence(a, b) == pytest.approx([0.5])
