"""Kernel times are those of the model's own nodes."""

import numpy as np
import onnx
import onnx_ir as ir

from tierwise.runtime.prepare import prepare
from tierwise.runtime.profile import kernel_times, node_times, operator_shares
from tierwise.runtime.session import SessionOptions
from tierwise.testing.subjects import residual_classifier

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[400,400] x, bool flag) => (float[400,400] y)
{
  big = MatMul(x, x)
  small = Relu(big)
  y = If(flag) <
    then_branch = then () => (float[400,400] t) { t = Neg(small) },
    else_branch = otherwise () => (float[400,400] e) { e = Abs(small) }
  >
}
"""


def test_every_node_has_its_time_and_the_costly_one_the_most() -> None:
    graph = prepare(ir.from_proto(onnx.parser.parse_model(TEXT)), simplify=False)
    feeds = {"x": np.ones((400, 400), np.float32), "flag": np.array(True)}
    times = kernel_times(graph.model, feeds, SessionOptions(optimisation="none"), runs=5)
    assert [*times] == [node.name for node in graph.nodes]
    assert all(0 <= seconds < 10 for seconds in times.values())
    assert max(times, key=times.__getitem__) == "MatMul_big"


def test_the_time_of_fused_kernels_is_told_by_the_nodes_of_the_graph():
    subject = residual_classifier(channels=8, blocks=2, size=16, count=2)
    times = node_times(subject.graph, subject.calibration.feeds(0), runs=5)
    assert set(times) <= {node.name for node in subject.graph.nodes}
    # With every optimisation on, convolutions are fused with what follows them, and all are found.
    assert len(times) >= 5
    assert all(seconds > 0 for seconds in times.values())


def test_the_operators_shares_of_the_time_add_up_and_the_largest_comes_first():
    subject = residual_classifier(channels=8, blocks=2, size=16, count=2)
    shares = operator_shares(subject.graph.model, subject.calibration.feeds(0), runs=5)
    assert "Conv" in shares
    assert abs(sum(shares.values()) - 1) < 1e-9
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
