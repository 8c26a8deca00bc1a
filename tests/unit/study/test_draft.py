import numpy as np
import pytest
from onnx import TensorProto, helper, save
from PIL import Image

from tierwise.errors import UserError
from tierwise.runtime.prepare import prepare
from tierwise.study.draft import draft_study
from tierwise.study.parse import parse_study


def model(path, inputs, outputs):
    """A model of the given shapes; every output is a sum of its own that broadcasts nothing."""
    floats = TensorProto.FLOAT
    nodes = [
        helper.make_node("ConstantOfShape", ["shape_" + name], [name + "_z"]) for name, _ in outputs
    ] + [helper.make_node("Sum", [name + "_z", "total"], [name]) for name, _ in outputs]
    nodes.insert(0, helper.make_node("ReduceSum", [inputs[0][0]], ["total"], keepdims=0))
    weights = [
        helper.make_tensor("shape_" + name, TensorProto.INT64, [len(shape)], shape)
        for name, shape in outputs
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, floats, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, floats, shape) for name, shape in outputs],
        weights,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("inputs", "outputs", "task"),
    [
        ([("x", [1, 3, 32, 32])], [("y", [1, 10])], "classification"),
        ([("x", [1, 3, 32, 32])], [("y", [1, 10, 1, 1])], "classification"),
        ([("x", [1, 3, 32, 32])], [("y", [1, 11, 32, 32])], "segmentation"),
        ([("x", [1, 3, 32, 32])], [("y", [1, 4]), ("z", [1, 4])], "any"),
        ([("x", [1, 7])], [("y", [1, 1])], "any"),
    ],
)
def test_the_task_is_guessed_from_the_outputs(tmp_path, inputs, outputs, task):
    text = draft_study(model(tmp_path / "m.onnx", inputs, outputs), tmp_path / "study.yaml")
    assert parse_study(text).task == task


def test_the_draft_is_a_study_file_with_the_pre_processing_of_the_input(tmp_path):
    path = model(tmp_path / "m.onnx", [("x", [1, 20, 30, 1])], [("y", [1, 10])])
    study = parse_study(draft_study(path, tmp_path / "study.yaml"))
    assert study.model == "m.onnx"
    assert study.data.preprocess.resize == (20, 30)
    assert (study.data.preprocess.color, study.data.preprocess.layout) == ("L", "NHWC")


def test_images_and_labels_beside_them_are_found(tmp_path):
    path = model(tmp_path / "m.onnx", [("x", [1, 3, 8, 8])], [("y", [1, 10])])
    images = tmp_path / "my images"
    images.mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(images / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    study = parse_study(draft_study(path, tmp_path / "deep" / "study.yaml", images))
    assert study.data.images == "../my images"
    assert study.data.labels == "../labels.csv"
    assert study.model == "../m.onnx"


def test_sub_folders_are_classes_and_an_npz_is_tensors(tmp_path):
    path = model(tmp_path / "m.onnx", [("x", [1, 3, 8, 8])], [("y", [1, 10])])
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / name / "a.png")
    assert "labels: folders" in draft_study(path, tmp_path / "s.yaml", tmp_path / "images")
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3, 8, 8), np.float32))
    study = parse_study(draft_study(path, tmp_path / "s.yaml", tmp_path / "x.npz"))
    assert study.data.npz == "x.npz"


def test_data_that_cannot_be_used_is_a_clear_error(tmp_path):
    path = model(tmp_path / "m.onnx", [("x", [1, 3, 8, 8])], [("y", [1, 10])])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no image in .*empty"):
        draft_study(path, tmp_path / "s.yaml", tmp_path / "empty")
    with pytest.raises(UserError, match=r"neither a folder of images nor an \.npz"):
        draft_study(path, tmp_path / "s.yaml", tmp_path / "missing")
    other = model(tmp_path / "o.onnx", [("x", [1, 9])], [("y", [1, 10])])
    with pytest.raises(UserError, match="the model's input is no image"):
        draft_study(other, tmp_path / "s.yaml", tmp_path / "empty")


def test_free_sizes_are_those_of_tokens_where_tokens_go_in_and_of_images_elsewhere(tmp_path):
    path = tmp_path / "tokens.onnx"
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])
    mask = helper.make_tensor_value_info("mask", TensorProto.INT64, ["batch", "length"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length"])
    nodes = [
        helper.make_node("Mul", ["ids", "mask"], ["masked"]),
        helper.make_node("Cast", ["masked"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(nodes, "g", [ids, mask], [out])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    text = draft_study(path, tmp_path / "study.yaml")
    assert "# sizes: {ids: [1, 128], mask: [1, 128]}   # assumed: 128 tokens" in text
    assert prepare(path).inputs[0].shape == (1, 128)
    path = model(tmp_path / "m.onnx", [("x", [1, 3, "h", "w"])], [("y", [1, 10])])
    text = draft_study(path, tmp_path / "study.yaml")
    assert "# sizes: {x: [1, 3, 224, 224]}   # assumed: free sizes" in text
