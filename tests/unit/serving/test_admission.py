"""Model files that hide what they must not have: in branches, attributes and other files."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tierwise.serving.admission import check_model_file
from tierwise.serving.faults import BadRequest, TooLarge

FLOAT = TensorProto.FLOAT


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, [4])


def _weights(location: str) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def _branch(*nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "branch", [], [_value("z")], list(weights))


def _save(path: Path, *nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> Path:
    graph = helper.make_graph(list(nodes), "g", [_value("x")], [_value("y")], list(weights))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def _check(path: Path, *, max_bytes: int = 10**6, custom: bool = False) -> None:
    check_model_file(path, max_bytes=max_bytes, allow_custom_operators=custom)


ADD = helper.make_node("Add", ["x", "w"], ["y"])
CUSTOM = helper.make_node("Foo", ["x"], ["z"], name="hidden", domain="my.ops")


def _if(branch: onnx.GraphProto) -> onnx.NodeProto:
    plain = _branch(helper.make_node("Identity", ["x"], ["z"]))
    return helper.make_node("If", ["x"], ["y"], then_branch=plain, else_branch=branch)


def _several(branch: onnx.GraphProto) -> onnx.NodeProto:
    """An attribute of several graphs."""
    node = helper.make_node("Any", ["x"], ["y"])
    node.attribute.append(helper.make_attribute("branches", [branch]))
    return node


@pytest.mark.parametrize("around", [_if, _several, lambda branch: _if(_branch(_if(branch)))])
def test_a_custom_operator_in_a_branch_is_found(tmp_path, around):
    path = _save(tmp_path / "m.onnx", around(_branch(CUSTOM)))
    with pytest.raises(BadRequest, match=r"my\.ops::Foo.*hidden.*--allow-custom-operators"):
        _check(path)
    _check(path, custom=True)


def test_an_operator_that_the_model_defines_itself_is_none(tmp_path):
    path = _save(tmp_path / "m.onnx", helper.make_node("Foo", ["x"], ["y"], domain="my.ops"))
    model = onnx.load(path)
    body = [helper.make_node("Identity", ["a"], ["b"])]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("my.ops", "Foo", ["a"], ["b"], body, imports))
    onnx.save(model, path)
    _check(path)


def _constant(tensor: onnx.TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["z"], value=tensor)


def _attribute_of_tensors(tensor: onnx.TensorProto) -> onnx.NodeProto:
    node = helper.make_node("Any", ["x"], ["z"])
    node.attribute.append(helper.make_attribute("values", [tensor]))
    return node


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "", "missing", "m.onnx", "up/../../x"]
)
@pytest.mark.parametrize(
    "place",
    [
        lambda tensor: {"nodes": (ADD,), "weights": (tensor,)},
        lambda tensor: {"nodes": (_constant(tensor),)},
        lambda tensor: {"nodes": (_attribute_of_tensors(tensor),)},
        lambda tensor: {"nodes": (_if(_branch(_constant(tensor))),)},
        lambda tensor: {"nodes": (_if(_branch(CUSTOM, weights=(tensor,))),)},
    ],
    ids=["weights", "constant", "attribute", "constant in a branch", "weights of a branch"],
)  # fmt: skip
def test_weights_outside_are_found_wherever_they_are_named(tmp_path, place, location):
    (tmp_path / "secret").write_bytes(bytes(16))
    folder = tmp_path / "folder"
    folder.mkdir()
    placed = place(_weights(location))
    path = _save(folder / "m.onnx", *placed["nodes"], weights=placed.get("weights", ()))
    with pytest.raises(BadRequest, match="external data must be a file beside the model"):
        _check(path, custom=True)


def test_a_link_to_outside_is_outside(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(16))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "inside").symlink_to(tmp_path / "secret")
    path = _save(folder / "m.onnx", _constant(_weights("inside")))
    with pytest.raises(BadRequest, match="external data must be a file beside the model"):
        _check(path)


def test_weights_beside_the_model_count_in_its_size(tmp_path):
    (tmp_path / "weights").write_bytes(bytes(5000))
    path = _save(tmp_path / "m.onnx", ADD, weights=(_weights("weights"),))
    size = path.stat().st_size + 5000
    _check(path, max_bytes=size)
    with pytest.raises(TooLarge, match=rf"has {size} bytes; this agent takes {size - 1}"):
        _check(path, max_bytes=size - 1)


def test_a_file_over_the_limit_is_not_even_read(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model at all")
    with pytest.raises(TooLarge, match="has 15 bytes"):
        _check(path, max_bytes=14)
    with pytest.raises(BadRequest, match=r"not ONNX|not an ONNX model"):
        _check(path, max_bytes=15)
