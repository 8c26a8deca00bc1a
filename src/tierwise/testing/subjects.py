"""Small subjects for tests of operators: real graphs with real answers, made in milliseconds."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tierwise.data.source import Dataset
from tierwise.data.tensors import TensorSamples
from tierwise.graph.analysis import Graph
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, open_session


@dataclass(frozen=True)
class TestSubject:
    """A graph and labelled data that it was not fitted on.

    Attributes:
        graph: Prepared.
        calibration: For operators.
        evaluation: That no operator may see.
    """

    __test__ = False  # not a test, whatever its name looks like to pytest

    graph: Graph
    calibration: Dataset
    evaluation: Dataset


def residual_classifier(
    *,
    channels: int = 8,
    blocks: int = 3,
    size: int = 16,
    classes: int = 6,
    count: int = 96,
    noise: float = 1.0,
    opset: int = 17,
    seed: int = 0,
) -> TestSubject:
    """A residual CNN with random features and a head fitted in closed form.

    Inputs are class patterns in noise, shape ``(1, 3, size, size)``, and the head is the ridge
    regression of one-hot labels on the features of 400 other inputs. So it classifies well,
    without training, and its losses are real.

    Args:
        channels: Of every block.
        blocks: Residual blocks of two 3x3 convolutions.
        size: Height and width.
        classes: Number of classes.
        count: Calibration inputs, and as many evaluation inputs.
        noise: Standard deviation of the noise; patterns have 1.
        opset: Of the model.
        seed: Of weights and data.
    """
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((classes, 3, size, size), dtype=np.float32)

    def sample(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(classes, size=n)
        noisy = patterns[labels] + noise * rng.standard_normal((n, 3, size, size))
        return noisy.astype(np.float32), labels.astype(np.int64)

    features = _network(rng, channels, blocks, size, opset)
    fit_x, fit_y = sample(400)
    with open_session(features, SessionOptions()) as session:
        x = np.concatenate([session.run({"x": one[None]})["features"] for one in fit_x])
    weights, bias = _ridge(x, np.eye(classes)[fit_y])
    model = _with_head(features, weights, bias)

    def dataset(n: int) -> Dataset:
        inputs, labels = sample(n)
        samples = TensorSamples(
            arrays={"x": inputs},
            dtypes={"x": "float32"},
            unbatched=frozenset(),
            ids=tuple(map(str, range(n))),
            labels=labels,
        )
        return Dataset(samples, description=f"{n} noisy patterns")

    graph = prepare(model, {"x": fit_x[:1]})
    return TestSubject(graph, dataset(count), dataset(count))


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (features, classes) and bias of the regression of ``y`` on ``x``."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = (x - mean) / scale
    solved = np.linalg.solve(z.T @ z + len(x) * 0.01 * np.eye(x.shape[1]), z.T @ (y - y.mean(0)))
    weights = solved / scale[:, None]
    return weights.astype(np.float32), (y.mean(0) - mean @ weights).astype(np.float32)


def _network(
    rng: np.random.Generator, channels: int, blocks: int, size: int, opset: int
) -> ir.Model:
    tape = ir.tape.Tape()
    given = ir.val("x", ir.DataType.FLOAT, [1, 3, size, size])
    weights: list[ir.Value] = []

    def weight(name: str, array: np.ndarray) -> ir.Value:
        value = _weight(name, array.astype(np.float32))
        weights.append(value)
        return value

    def conv(x: ir.Value, ins: int, name: str, stride: int = 1) -> ir.Value:
        w = rng.standard_normal((channels, ins, 3, 3)) * np.sqrt(2 / (9 * ins))
        b = 0.1 * rng.standard_normal(channels)
        return tape.op(
            "Conv",
            [x, weight(f"{name}.weight", w), weight(f"{name}.bias", b)],
            {"pads": [1, 1, 1, 1], "strides": [stride, stride]},
            name=name,
        )

    x = tape.op("Relu", [conv(given, 3, "stem")], name="stem_relu")
    for index in range(blocks):
        inner = tape.op("Relu", [conv(x, channels, f"block{index}.a")], name=f"block{index}.relu")
        branch = conv(inner, channels, f"block{index}.b")
        total = tape.op("Add", [x, branch], name=f"block{index}.add")
        x = tape.op("Relu", [total], name=f"block{index}.out")
    pooled = tape.op("AveragePool", [x], {"kernel_shape": [4, 4], "strides": [4, 4]}, name="pool")
    flat = tape.op("Flatten", [pooled], name="flatten")
    flat.name = "features"
    flat.dtype, flat.shape = ir.DataType.FLOAT, ir.Shape([1, channels * (size // 4) ** 2])
    graph = ir.Graph(
        [given], [flat], nodes=tape.nodes, initializers=weights,
        opset_imports={"": opset}, name="residual_classifier",
    )  # fmt: skip
    return ir.Model(graph, ir_version=8 if opset >= 15 else 7)


def _weight(name: str, array: np.ndarray) -> ir.Value:
    return ir.val(name, const_value=ir.tensor(array, name=name))


def _with_head(features: ir.Model, weights: np.ndarray, bias: np.ndarray) -> ir.Model:
    model = features.clone()
    graph = model.graph
    values = []
    for name, array in (("head.weight", weights), ("head.bias", bias)):
        value = _weight(name, array)
        graph.register_initializer(value)
        values.append(value)
    node = ir.node("Gemm", [graph.outputs[0], *values], name="head")
    node.outputs[0].name = "scores"
    node.outputs[0].dtype = ir.DataType.FLOAT
    node.outputs[0].shape = ir.Shape([1, weights.shape[1]])
    graph.append(node)
    graph.outputs[0] = node.outputs[0]
    return model
