import numpy as np
import onnx
import pytest

from tierwise.operators.early_exit.linear import linear_map, rescale_outputs
from tierwise.operators.early_exit.statistics import rematch
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import open_session


def test_a_channel_gets_the_mean_and_the_spread_that_it_had():
    rng = np.random.default_rng(0)
    present = rng.standard_normal((500, 3)) * [1.0, 2.0, 0.5] + [0.0, 1.0, -3.0]
    wanted = rng.standard_normal((500, 3)) * [2.0, 1.0, 0.5] + [5.0, 0.0, -1.0]
    scale, shift = rematch(present, wanted)
    got = present * scale + shift
    assert np.allclose(got.mean(axis=0), wanted.mean(axis=0))
    assert np.allclose(got.std(axis=0), wanted.std(axis=0))


def test_a_channel_that_does_not_vary_is_shifted_and_none_is_blown_up():
    present = np.stack([np.full(50, 2.0), np.linspace(0, 1e-3, 50)], axis=1)
    wanted = np.stack([np.linspace(0, 2, 50), np.linspace(0, 100, 50)], axis=1)
    scale, shift = rematch(present, wanted)
    assert scale.tolist() == [1.0, 4.0]
    assert np.allclose((present * scale + shift).mean(axis=0), wanted.mean(axis=0))


@pytest.mark.parametrize(
    "node",
    [
        "y = Conv<pads: ints = [1,1,1,1], group: int = 2>(x, w)",
        "y = Conv<pads: ints = [1,1,1,1]>(x, v, b)",
        "f = Flatten(x)  y = Gemm<transB: int = 1>(f, g, b)",
        "f = Flatten(x)  z = MatMul(f, m)  y = Add(z, b)",
    ],
    ids=["grouped Conv without bias", "Conv", "Gemm", "MatMul and Add"],
)
def test_outputs_are_scaled_and_shifted_exactly(node):
    rng = np.random.default_rng(1)
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[1,2,3,3] x) => (float[] y)
        <float[2,1,3,3] w, float[2,2,3,3] v, float[2] b, float[2,18] g, float[18,2] m>
        {{ {node} }}"""
    )
    shapes = {"w": (2, 1, 3, 3), "v": (2, 2, 3, 3), "b": (2,), "g": (2, 18), "m": (18, 2)}
    used = {name for one in model.graph.node for name in one.input}
    del model.graph.initializer[:]
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
        if name in used
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    graph = prepare(model.SerializeToString(), simplify=False)
    feeds = {"x": rng.standard_normal((1, 2, 3, 3)).astype(np.float32)}
    with open_session(graph.model) as session:
        before = session.run(feeds)["y"]
    linear = next(one for one in map(linear_map, graph.model.graph) if one is not None)
    scale, shift = np.array([2.0, -0.5]), np.array([1.0, 3.0])
    rescale_outputs(graph.model, linear, scale, shift)
    with open_session(graph.model) as session:
        after = session.run(feeds)["y"]
    along = (1, 2, 1, 1) if before.ndim == 4 else (1, 2)
    assert np.allclose(after, before * scale.reshape(along) + shift.reshape(along), atol=1e-5)
