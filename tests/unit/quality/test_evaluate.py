import numpy as np
import pytest

from tierwise.data.source import Dataset
from tierwise.data.tensors import TensorSamples
from tierwise.errors import DataError
from tierwise.quality.evaluate import evaluate, quality_caveats, refer, setup_caveats
from tierwise.testing.subjects import residual_classifier


def dataset(x, labels=None):
    samples = TensorSamples(
        arrays={"x": x},
        dtypes={"x": str(x.dtype)},
        unbatched=frozenset(),
        ids=tuple(map(str, range(len(x)))),
        labels=labels,
    )
    return Dataset(samples, description="by hand")


def echo(feeds):
    return {"y": feeds["x"]}


SCORES = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)


def test_top_1_of_labels_and_what_is_lost():
    data = dataset(SCORES, np.array([0, 0, 1, 1]))
    reference = refer(echo, data, "classification")
    assert (reference.figure.metric, reference.figure.value) == ("top-1", 75)
    assert reference.figure.from_labels
    worse = evaluate(lambda feeds: {"y": 1 - feeds["x"]}, data, "classification", reference)
    assert (worse.value, worse.loss) == (25, 50)
    assert worse.per_input.tolist() == [0, 0, 0, 1]


def test_without_labels_the_original_is_the_truth_and_the_figure_says_so():
    data = dataset(SCORES)
    reference = refer(echo, data, "classification")
    figure = evaluate(lambda feeds: {"y": 1 - feeds["x"]}, data, "classification", reference)
    assert (figure.metric, figure.value, figure.loss) == ("agreement", 0, 100)
    assert not figure.from_labels
    [caveat] = quality_caveats(figure, data)
    assert "No labels: agreement is with the original model's own answers" in caveat.evidence


@pytest.mark.parametrize(
    ("right", "told"),
    [
        (0, True),
        (10, True),
        (16, True),
        (24, False),
        (40, False),
    ],  # of 40; four classes: 10 by chance
)
def test_an_original_that_only_guesses_is_told(right, told):
    labels = np.arange(40) % 4
    answers = np.where(np.arange(40) < right, labels, (labels + 1) % 4)
    data = dataset(np.eye(4, dtype=np.float32)[answers], labels)
    reference = refer(echo, data, "classification")
    caveats = setup_caveats(reference.figure, data)
    assert len(caveats) == told
    if told:
        assert f"has {right} of 40 inputs of 4 classes right" in caveats[0].evidence
        assert "preprocess" in caveats[0].advice


def test_whether_it_guesses_is_not_asked_without_labels():
    data = dataset(SCORES)
    assert not setup_caveats(refer(echo, data, "any").figure, data)


@pytest.mark.parametrize(("task", "count"), [("any", 1), ("classification", 2)])
def test_answers_that_are_none_are_told(task, count):
    scores = np.array([[1.0, 2.0], [np.nan, np.nan], [0.0, 0.0]], np.float32)
    data = dataset(scores)
    [caveat] = setup_caveats(refer(echo, data, task).figure, data)
    assert f"has no answer to {count} of 3 inputs" in caveat.evidence


def test_top_5_is_reported_where_there_are_more_than_five_classes():
    scores = np.arange(14, dtype=np.float32).reshape(2, 7)
    figure = evaluate(echo, dataset(scores, np.array([6, 2])), "classification")
    assert (figure.value, figure.more["top-5"]) == (50, 100)


def test_a_label_beyond_the_classes_is_named():
    with pytest.raises(DataError, match=r"Label 2 is none of the model's 2 classes \(0 to 1\)"):
        evaluate(echo, dataset(SCORES, np.array([0, 0, 1, 2])), "classification")


def test_a_classification_without_class_scores_says_what_the_outputs_are():
    images = np.zeros((1, 3, 4, 4), dtype=np.float32)
    with pytest.raises(DataError, match=r"No output holds one score per class: .* y \(1, 3, 4, 4"):
        evaluate(echo, dataset(images), "classification")


def test_miou_is_over_the_pixels_of_all_inputs_with_255_ignored():
    scores = np.zeros((2, 2, 2, 2), dtype=np.float32)
    scores[0, 1] = 1  # input 0: class 1 everywhere; input 1: class 0 everywhere (argmax of a tie)
    masks = np.array([[[1, 1], [1, 255]], [[0, 1], [0, 0]]], dtype=np.uint8)
    figure = evaluate(echo, dataset(scores, masks), "segmentation")
    # class 0: 3 hits of 4 pixels; class 1: 3 hits, 4 true pixels
    assert figure.metric == "mIoU"
    assert figure.value == pytest.approx(75)
    assert figure.per_input == pytest.approx([1, 0.375])


def test_class_scores_on_the_last_axis_are_found():
    scores = np.zeros((1, 6, 6, 3), dtype=np.float32)
    scores[..., 2] = 1
    masks = np.full((1, 6, 6), 2, dtype=np.uint8)
    assert evaluate(echo, dataset(scores, masks), "segmentation").value == 100
    reference = refer(echo, dataset(scores), "segmentation")
    assert evaluate(echo, dataset(scores), "segmentation", reference).value == 100


def test_a_mask_of_another_size_and_a_class_too_many_are_named():
    scores = np.zeros((1, 2, 4, 4), dtype=np.float32)
    with pytest.raises(DataError, match="A mask is 8 x 8, but the model's class map is 4 x 4"):
        evaluate(echo, dataset(scores, np.zeros((1, 8, 8), np.uint8)), "segmentation")
    with pytest.raises(DataError, match="A mask has class 2, but the model knows 2 classes"):
        evaluate(echo, dataset(scores, np.full((1, 4, 4), 2, np.uint8)), "segmentation")


def test_labels_of_another_task_are_refused():
    with pytest.raises(DataError, match="task is segmentation, which needs labels that are masks"):
        evaluate(echo, dataset(SCORES, np.array([0, 0, 1, 1])), "segmentation")


def test_any_output_is_compared_with_the_originals_and_each_is_reported():
    data = dataset(np.ones((2, 4), dtype=np.float32))

    def two(feeds):
        return {"boxes": feeds["x"], "classes": np.array([1, 2])}

    reference = refer(two, data, "any")
    assert reference.figure.value == 100
    figure = evaluate(
        lambda feeds: {"boxes": -feeds["x"], "classes": np.array([1, 3])}, data, "any", reference
    )
    assert figure.value == 25
    assert figure.more["cosine of boxes"] == 0
    assert figure.more["agreement of classes"] == 50


def test_integers_alone_are_an_agreement_and_another_shape_agrees_in_nothing():
    data = dataset(np.arange(6).reshape(2, 3))
    reference = refer(echo, data, "any")
    assert reference.figure.metric == "agreement"
    assert evaluate(lambda feeds: {"y": feeds["x"][:, :2]}, data, "any", reference).value == 0


def test_a_reference_of_other_data_is_refused():
    data = dataset(SCORES)
    with pytest.raises(DataError, match="The reference has 4 inputs, the data 2"):
        evaluate(echo, data.subset([0, 1]), "any", refer(echo, data, "any"))


def test_no_input_is_refused():
    with pytest.raises(DataError, match="no input to evaluate on"):
        evaluate(echo, dataset(SCORES).subset([]), "any")


def test_a_real_model_is_evaluated_through_a_session():
    subject = residual_classifier()
    figure = evaluate(subject.graph.model, subject.evaluation, "classification")
    assert figure.value > 80
    assert figure.n == 96
