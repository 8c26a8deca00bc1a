"""What isn't usable is told apart, and told."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tierwise.errors import ModelError
from tierwise.graph.load import load_model


def saved(folder: Path, op: str = "Relu", domain: str = "", **options: object) -> Path:
    shape = [1, 2]
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    path = folder / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8, **options).SerializeToString()
    )
    return path


def with_external_data(folder: Path, location: str) -> Path:
    weight = numpy_helper.from_array(np.zeros((2, 2), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=8).SerializeToString())
    return path


def test_unnamed_nodes_get_names(tmp_path: Path) -> None:
    assert [node.name for node in load_model(saved(tmp_path)).graph] == ["Relu_y"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "is not an? ?(valid )?ONNX"),
        (b"import torch\nprint('hello')\n", "is not an? ?(valid )?ONNX"),
        (bytes(range(256)) * 8, "is not an? ?(valid )?ONNX"),
    ],
)
def test_what_is_not_onnx(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "photo.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=text) as caught:
        load_model(path)
    assert "torch.onnx.export" in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no file"):
        load_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        load_model(tmp_path)


def test_a_custom_operator_is_named_with_its_domain(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="needs the custom operator 'acme::Warp'") as caught:
        load_model(saved(tmp_path, "Warp", "acme"))
    assert caught.value.operator == "acme::Warp"


def test_a_model_local_function_is_no_custom_operator(tmp_path: Path) -> None:
    body = helper.make_function(
        "acme", "Warp", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    assert load_model(saved(tmp_path, "Warp", "acme", functions=[body])).functions


def test_an_operator_that_onnx_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"uses 'Reluu'.*no operator of ONNX"):
        load_model(saved(tmp_path, "Reluu"))


def test_a_tensor_that_nothing_produces(tmp_path: Path) -> None:
    path = saved(tmp_path)
    model = onnx.load(path)
    model.graph.node[0].input[0] = "ghost"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="reads 'ghost', which nothing produces"):
        load_model(path)


def test_a_classifier_that_answers_with_maps_says_how_to_export_it(tmp_path: Path) -> None:
    # What skl2onnx writes by default.
    maps = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    graph = helper.make_graph(
        [helper.make_node("ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml",
                          classlabels_int64s=[0, 1])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_value_info("probabilities", helper.make_sequence_type_proto(maps))],
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(ModelError, match=r"'probabilities' .* is a sequence.*'zipmap': False"):
        load_model(path)


def test_a_model_without_any_input_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 2), np.float32), "x"))
    del model.graph.input[:]
    onnx.save(model, path)
    with pytest.raises(ModelError, match="has no input"):
        load_model(path)


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("weights.bin", "'weights.bin', which is missing"),
        ("../weights.bin", "outside its own folder"),
        ("short.bin", "has 3 bytes; 16 are needed"),
    ],
)
def test_external_data_that_is_not_there(tmp_path: Path, location: str, text: str) -> None:
    (tmp_path / "short.bin").write_bytes(b"abc")
    with pytest.raises(ModelError, match=text) as caught:
        load_model(with_external_data(tmp_path, location))
    assert caught.value.tensor == "w"


def test_external_data_beside_the_model_is_used(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.eye(2, dtype=np.float32).tobytes())
    model = load_model(with_external_data(tmp_path, "weights.bin"))
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), np.eye(2))
