"""A subject small enough for a whole study in seconds: a residual net of random weights."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from tierwise.store.results import TrialState
from tierwise.store.write import StudyStore
from tierwise.study.run import run_study

STUDY = """\
model: model.onnx
task: classification
data: {npz: data.npz}
tiers:
  mobile: {cpus: 0.5, memory: 1GiB}
  cloud: {cpus: 1.0}
links: {mobile-cloud: {bandwidth: [20Mbit, 100Mbit], rtt: 2ms}}
operators:
  use: [I, Q, E, P, QEP]
  quantize: {budget: 2s, max_loss: 100}
quality: {calibration: 24, evaluation: 40}
measure: {samples: 6, strategies: all}
require: {max_loss: 100}
"""
CHANNELS, SIDE, CLASSES, BLOCKS = 16, 24, 5, 4


def _convolution(name, rng, inputs, outputs):
    weight = rng.standard_normal((outputs, inputs, 3, 3)) * (2 / (9 * inputs)) ** 0.5
    return numpy_helper.from_array(weight.astype(np.float32), name)


def residual_net(path: Path, seed: int = 0) -> None:
    """Convolution, residual blocks of equal shape, global mean, dense: opset 17."""
    rng = np.random.default_rng(seed)
    weights = [_convolution("stem.w", rng, 3, CHANNELS)]
    nodes = [
        helper.make_node("Conv", ["image", "stem.w"], ["s0"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["s0"], ["x0"], name="stem.relu"),
    ]
    for i in range(BLOCKS):
        weights.append(_convolution(f"b{i}.w", rng, CHANNELS, CHANNELS))
        nodes += [
            helper.make_node(
                "Conv", [f"x{i}", f"b{i}.w"], [f"c{i}"], name=f"b{i}.conv", pads=[1, 1, 1, 1]
            ),
            helper.make_node("Add", [f"c{i}", f"x{i}"], [f"a{i}"], name=f"b{i}.add"),
            helper.make_node("Relu", [f"a{i}"], [f"x{i + 1}"], name=f"b{i}.relu"),
        ]
    dense = rng.standard_normal((CHANNELS, CLASSES)).astype(np.float32)
    weights.append(numpy_helper.from_array(dense, "fc.w"))
    nodes += [
        helper.make_node("GlobalAveragePool", [f"x{BLOCKS}"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "fc.w"], ["scores"], name="fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        weights,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def make_subject(folder: Path) -> Path:
    """A folder with a model, data and a study file; gives the study file's path."""
    folder.mkdir()
    residual_net(folder / "model.onnx")
    rng = np.random.default_rng(1)
    np.savez(
        folder / "data.npz",
        image=rng.standard_normal((64, 3, SIDE, SIDE)).astype(np.float32),
        labels=rng.integers(0, CLASSES, 64),
    )
    study = folder / "study.yaml"
    study.write_text(STUDY)
    return study


@pytest.fixture
def subject(tmp_path):
    """See :func:`make_subject`."""
    return make_subject(tmp_path / "subject")


@pytest.fixture
def split_and_whole(subject):
    """The study file reduced to a whole model and a split one, one network and four blocks."""
    text = subject.read_text().replace("[I, Q, E, P, QEP]", "[I, P]")
    text = text.replace("[20Mbit, 100Mbit]", "100Mbit").replace("samples: 6", "samples: 4")
    subject.write_text(text)
    return subject


@pytest.fixture
def blocks(monkeypatch):
    """Every block that is stored, as it is."""
    stored, add_block = [], StudyStore.add_block

    def add(store, condition, block):
        add_block(store, condition, block)
        stored.append(block)

    monkeypatch.setattr(StudyStore, "add_block", add)
    return stored


def assert_whole(results, blocks, study, out):
    """Every trial has a sample of each of the four blocks, and a second run measures nothing."""
    assert {trial.state for trial in results.trials} == {TrialState.MEASURED}
    assert [trial.block.tolist() for trial in results.trials] == [[*range(4)]] * 3
    before = len(blocks)
    assert run_study(study, out).trials
    assert len(blocks) == before


@pytest.fixture
def tierwise():
    """Starts the command in a process of its own; what still runs at the end is ended."""
    started = []

    def run(*arguments, **options):
        process = subprocess.Popen(
            [sys.executable, "-m", "tierwise", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
            **options,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
