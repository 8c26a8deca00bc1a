"""A model of more than 2 GiB, whose weights do not fit a protobuf message."""

import json
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tierwise.cli import inspect, partition
from tierwise.cli.partition_options import Cutting
from tierwise.runtime.session import open_session

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]
WIDTH, LAYERS = 8192, 9
NEEDED_BYTES = 4 * WIDTH * WIDTH * LAYERS


@pytest.fixture
def large(tmp_path):
    """Nine diagonal layers of 256 MiB each, in a sparse file of 2.25 GiB."""
    if shutil.disk_usage(tmp_path).free < 4 * NEEDED_BYTES:
        pytest.skip("needs 9 GiB of disk")
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 3 * NEEDED_BYTES:
        pytest.skip("needs 7 GiB of memory")
    rng = np.random.default_rng(0)
    weights, nodes = [], []
    content = np.memmap(
        tmp_path / "weights.bin", np.float32, mode="w+", shape=(LAYERS, WIDTH, WIDTH)
    )
    for layer in range(LAYERS):
        content[layer, np.arange(WIDTH), np.arange(WIDTH)] = rng.uniform(0.5, 2, WIDTH)
        tensor = TensorProto(
            name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH],
            data_location=TensorProto.EXTERNAL,
        )  # fmt: skip
        place = {"location": "weights.bin", "offset": layer * 4 * WIDTH**2, "length": 4 * WIDTH**2}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        weights.append(tensor)
        nodes.append(helper.make_node("MatMul", [f"t{layer}", f"w{layer}"], [f"t{layer + 1}"]))
    content.flush()
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, WIDTH])
        for name in ("t0", f"t{LAYERS}")
    ]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "large.onnx")
    return tmp_path / "large.onnx"


def test_it_is_inspected_cut_and_its_segments_run(large, tmp_path, capsys):
    inspect.command(large, json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["macs"] == LAYERS * WIDTH**2
    partition.command(large, out=tmp_path / "parts", cutting=Cutting(cut=["t8"]), json=True)
    manifest = json.loads((tmp_path / "parts" / "manifest.json").read_text())
    head, tail = manifest["segments"]
    assert (tmp_path / "parts" / head["external_data"]).stat().st_size >= 8 * 4 * WIDTH**2
    assert "external_data" not in tail
    x = np.random.default_rng(1).standard_normal((1, WIDTH)).astype(np.float32)
    tensors = {"t0": x}
    for segment in (head, tail):
        with open_session(tmp_path / "parts" / segment["file"]) as session:
            tensors = session.run(tensors)
    shutil.rmtree(tmp_path / "parts")
    with open_session(large) as session:
        whole = session.run({"t0": x})
    np.testing.assert_array_equal(tensors[f"t{LAYERS}"], whole[f"t{LAYERS}"])
