import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.quality.metrics import (
    class_pixels,
    confusion_matrix,
    cosine,
    equal_share,
    intersection_over_union,
    relative_error,
    top_k_hit,
)


def test_the_highest_score_hits():
    assert top_k_hit(np.array([0.1, 0.7, 0.2]), 1, 1)
    assert not top_k_hit(np.array([0.1, 0.7, 0.2]), 2, 1)
    assert top_k_hit(np.array([0.1, 0.7, 0.2]), 2, 2)


def test_a_constant_output_hits_nothing():
    assert not top_k_hit(np.zeros(10), 0, 5)


def test_scores_that_are_not_numbers_miss():
    assert not top_k_hit(np.array([np.nan, 1.0]), 1, 1)


def test_iou_by_hand():
    truth = np.array([[0, 0], [1, 1]])
    predicted = np.array([[0, 1], [1, 1]])
    iou = intersection_over_union(
        confusion_matrix(predicted, truth, 2), class_pixels(truth, 2, None)
    )
    assert iou == pytest.approx([1 / 2, 2 / 3])


def test_ignored_pixels_count_neither_as_hits_nor_as_misses():
    truth = np.array([0, 0, 255, 255], dtype=np.uint8)
    predicted = np.array([0, 0, 1, 0])
    confusion = confusion_matrix(predicted, truth, 2, ignore=255)
    assert confusion.tolist() == [[2, 0], [0, 0]]
    iou = intersection_over_union(confusion, class_pixels(truth, 2, 255))
    assert iou[0] == 1
    assert np.isnan(iou[1])


def test_a_class_that_does_not_exist_is_a_miss_of_the_true_class():
    truth, predicted = np.array([0, 0, 0, 0]), np.array([0, 0, 7, -1])
    iou = intersection_over_union(
        confusion_matrix(predicted, truth, 2), class_pixels(truth, 2, None)
    )
    assert iou[0] == 0.5


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_iou_is_that_of_sets_of_pixels(seed, classes):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(classes, size=(2, 6, 7))
    iou = intersection_over_union(
        confusion_matrix(predicted, truth, classes), class_pixels(truth, classes, None)
    )
    for one in range(classes):
        union = np.count_nonzero((truth == one) | (predicted == one))
        hits = np.count_nonzero((truth == one) & (predicted == one))
        assert np.isnan(iou[one]) if union == 0 else iou[one] == pytest.approx(hits / union)


def test_cosine_survives_values_whose_squares_overflow():
    huge = np.array([1e30, -2e30], dtype=np.float32)
    assert cosine(huge, huge / 2) == pytest.approx(1)
    assert cosine(huge, -huge) == pytest.approx(-1)


def test_cosine_of_zeros_and_of_no_numbers():
    zero, one = np.zeros(3), np.ones(3)
    assert cosine(zero, zero) == 1
    assert cosine(zero, one) == 0
    assert cosine(np.array([np.nan]), np.array([1.0])) == 0


def test_equal_share_and_relative_error():
    assert equal_share(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 0])) == 0.5
    assert equal_share(np.empty(0), np.empty(0)) == 1
    assert relative_error(np.array([3.0]), np.array([4.0])) == 0.25
    assert relative_error(np.zeros(2), np.zeros(2)) == 0
    assert relative_error(np.ones(2), np.zeros(2)) == np.inf
