"""Weights in a file beside the model, as PyTorch's exporter keeps them."""

import numpy as np
import onnx
import pytest

from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import open_session

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,64] x) => (float[1,64] y)
<float[64,64] w>
{
  a = MatMul(x, w)
  b = Identity(a)
  y = Relu(b)
}
"""


@pytest.fixture
def path(tmp_path):
    model = onnx.parser.parse_model(TEXT)
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="model.onnx.data")
    return path


def test_a_model_with_external_data_is_simplified_like_any_other(path):
    graph = prepare(path)
    assert [node.op_type for node in graph.nodes] == ["MatMul", "Relu"]
    feeds = {"x": np.ones((1, 64), np.float32)}
    with open_session(graph.model) as session, open_session(path) as original:
        np.testing.assert_array_equal(session.run(feeds)["y"], original.run(feeds)["y"])
