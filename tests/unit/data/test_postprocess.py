"""What is sent back instead of raw outputs."""

import numpy as np
import pytest

from tierwise.data.postprocess import Postprocess
from tierwise.errors import DataError

GENERATOR = np.random.default_rng(3)


def test_none_keeps_the_outputs():
    outputs = {"a": np.ones(3), "b": np.zeros((2, 2))}
    assert Postprocess("none").apply(outputs) == outputs


def test_argmax_makes_a_class_map_in_uint8():
    scores = GENERATOR.normal(size=(2, 11, 6, 7)).astype(np.float32)
    aux = np.ones((2, 4), dtype=np.float32)
    got = Postprocess("argmax").apply({"scores": scores, "aux": aux})
    assert got["scores"].dtype == np.uint8
    np.testing.assert_array_equal(got["scores"], scores.argmax(axis=1))
    assert got["aux"] is aux


@pytest.mark.parametrize("channels", [1, 257])
def test_argmax_refuses_what_is_no_class_map(channels: int):
    scores = np.zeros((1, channels, 2, 2), dtype=np.float32)
    with pytest.raises(DataError, match=rf"has {channels} channel\(s\).*postprocess: none"):
        Postprocess("argmax").apply({"scores": scores})


def test_top5_orders_by_score_and_then_by_index():
    scores = np.array([[0.1, 0.5, 0.5, 0.0, 0.9, 0.2]], dtype=np.float32)
    got = Postprocess("top5").apply({"logits": scores})
    assert got["logits.indices"].tolist() == [[4, 1, 2, 5, 0]]
    np.testing.assert_array_equal(got["logits.scores"], scores[:, [4, 1, 2, 5, 0]])


def test_top5_of_fewer_classes_gives_all_of_them():
    got = Postprocess("top5").apply({"logits": np.array([[1.0, 2.0, 0.0]])})
    assert got["logits.indices"].tolist() == [[1, 0, 2]]
