"""Splits: disjoint, reproducible, stratified, honest about too few inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.data.split import split_indices
from tierwise.errors import DataError

sizes = st.integers(1, 300)


@given(
    n=st.integers(2, 300),
    calibration=st.integers(0, 300),
    evaluation=st.none() | sizes,
    seed=st.integers(0, 2**32),
    classes=st.none() | st.integers(1, 12),
)
def test_calibration_and_evaluation_never_overlap(n, calibration, evaluation, seed, classes):
    labels = None if classes is None else np.arange(n) % classes
    split = split_indices(n, calibration, evaluation, seed, labels)
    chosen = np.concatenate([split.calibration, split.evaluation])
    assert len(np.unique(chosen)) == len(chosen)
    assert chosen.min() >= 0
    assert chosen.max() < n
    assert len(split.evaluation) >= 1
    assert (len(split.calibration) >= 1) == (calibration >= 1)
    if calibration + (evaluation or 1) <= n:
        assert len(split.calibration) == calibration
        assert len(split.evaluation) == (n - calibration if evaluation is None else evaluation)
        assert split.notes == ()
    else:
        assert len(chosen) == n
        assert "are fewer than" in split.notes[0]


@given(seed=st.integers(0, 1000), calibration=st.integers(10, 100), evaluation=st.integers(10, 100))
def test_classes_are_held_in_proportion(seed, calibration, evaluation):
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    split = split_indices(200, calibration, evaluation, seed, labels)
    for indices in (split.calibration, split.evaluation):
        counts = np.bincount(labels[indices], minlength=3)
        expected = len(indices) * np.array([0.5, 0.3, 0.2])
        assert np.abs(counts - expected).max() <= 3


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = (split_indices(500, 50, 100, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.calibration, again.calibration)
    np.testing.assert_array_equal(first.evaluation, again.evaluation)
    assert set(first.calibration) != set(other.calibration)


def test_too_few_inputs_shrink_both_in_the_ratio_asked_and_say_so():
    split = split_indices(30, 100, 200, seed=0)
    assert (len(split.calibration), len(split.evaluation)) == (10, 20)
    assert split.notes == (
        "30 inputs are fewer than the 100 + 200 asked for: 10 calibrate and 20 evaluate.",
    )


def test_one_input_cannot_serve_both():
    with pytest.raises(DataError, match="There are 1 inputs; at least 2 are required"):
        split_indices(1, 1, 1, seed=0)


def test_masks_are_not_stratified_by():
    masks = np.zeros((20, 4, 4), dtype=np.uint8)
    assert len(split_indices(20, 5, None, 0, masks).evaluation) == 15


def test_labels_of_another_length_are_refused():
    with pytest.raises(DataError, match="There are 3 labels for 10 inputs"):
        split_indices(10, 2, 2, 0, np.array([0, 1, 2]))


@pytest.mark.parametrize(("calibration", "evaluation"), [(-1, 5), (5, 0)])
def test_impossible_sizes_are_refused(calibration: int, evaluation: int):
    with pytest.raises(DataError, match="0 or more and 1 or more are required"):
        split_indices(10, calibration, evaluation, 0)
