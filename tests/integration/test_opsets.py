"""The oldest and the newest opset, with a free batch: through every step."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from tests.integration.study.conftest import SIDE, residual_net

from tierwise.cli import inspect
from tierwise.data.source import open_dataset
from tierwise.data.spec import DataSpec
from tierwise.graph.blocks import exit_candidates
from tierwise.graph.cuts import list_cuts
from tierwise.operators.early_exit import EarlyExitOptions, early_exit
from tierwise.operators.partition import Chain, partition
from tierwise.operators.quantize import RECIPES, quantize
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, open_session

NONE = SessionOptions(optimisation="none")
COUNT = 12


def newest() -> int:
    """The newest opset that this ONNX Runtime runs."""
    for opset in range(onnx.defs.onnx_opset_version(), 11, -1):
        node = helper.make_node("Relu", ["x"], ["y"])
        ends = [helper.make_tensor_value_info(name, 1, [1]) for name in ("x", "y")]
        graph = helper.make_graph([node], "g", ends[:1], ends[1:])
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
        )
        try:
            ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - it has no common base, and the next one is tried
            continue
        return opset
    raise AssertionError("no opset runs")


@pytest.fixture(params=[11, newest()], ids=lambda opset: f"opset {opset}")
def files(request, tmp_path):
    """A residual classifier of this opset with a free batch, and inputs."""
    path = tmp_path / "model.onnx"
    residual_net(path)
    model = onnx.load(path)
    model.opset_import[0].version = request.param
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, path)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((COUNT, 3, SIDE, SIDE)).astype(np.float32)
    np.savez(tmp_path / "data.npz", image=images)
    return path, request.param


def test_a_model_goes_through_every_step(files, capsys):
    path, opset = files
    inspect.command(path, json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["opset"] == opset
    with open_session(path) as session:
        data = open_dataset(DataSpec(npz="data.npz"), session.inputs, path.parent)
    feeds = data.feeds(0)
    graph = prepare(path, feeds)
    with open_session(graph.model, NONE) as session:
        whole = session.run(feeds)["scores"]
    cuts = list_cuts(graph)
    assert len(cuts) > 10
    for cut in (cuts[2], cuts[len(cuts) // 2], cuts[-2]):
        chain = Chain(partition(graph, [cut]), NONE)
        np.testing.assert_array_equal(chain.run(feeds)["scores"], whole)
        # The batch stays free in every segment.
        two = {"image": np.concatenate([feeds["image"], feeds["image"]])}
        assert chain.run(two)["scores"].shape == (2, whole.shape[1])
        chain.close()
    assert exit_candidates(graph)
    inputs = [data.feeds(index) for index in range(COUNT)]
    (skipped, *_) = early_exit(graph, inputs, EarlyExitOptions(rule="last-two"))
    assert skipped.graph.macs < graph.macs
    for source in (graph, skipped.graph):
        quantized = quantize(source, data, max_loss=100, recipes=tuple(RECIPES)[:1], budget_s=5)
        with open_session(quantized.graph.model) as session:
            assert session.run(feeds)["scores"].shape == whole.shape
