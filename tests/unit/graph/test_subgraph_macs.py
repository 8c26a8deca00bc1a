"""What runs inside If, Loop and Scan is work, and the nodes that hold it stay whole."""

import onnx
import onnx_ir as ir
import pytest

from tierwise.graph.cuts import list_cuts
from tierwise.graph.segments import split
from tierwise.runtime.prepare import prepare

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
W = "float[8,8] w = {" + ",".join(["0.1"] * 64) + "}"

IF = f"""{HEAD}net (float[1,8] x) => (float[1,8] y) <{W}, float zero = {{0}}> {{
  a = Relu(x)
  s = ReduceSum <keepdims = 0> (a)
  c = Greater(s, zero)
  b = If (c) <
    then_branch = t () => (float[1,8] ty) {{ tm = MatMul(a, w) ty = MatMul(tm, w) }},
    else_branch = e () => (float[1,8] ey) {{ ey = MatMul(a, w) }}
  >
  y = Relu(b)
}}"""
LOOP = f"""{HEAD}net (float[1,8] x) => (float[1,8] y) <{W}, int64 n = {{3}}, bool go = {{1}}> {{
  a = Relu(x)
  b = Loop (n, go, a) <
    body = l (int64 i, bool c, float[1,8] v) => (bool d, float[1,8] u) {{
      d = Identity(c)
      u = MatMul(v, w)
    }}
  >
  y = Relu(b)
}}"""
SCAN = f"""{HEAD}net (float[1,5,8] x) => (float[5,8] y) <{W}, int64[1] first = {{0}}> {{
  a = Squeeze(x, first)
  b = Scan (a) <
    num_scan_inputs = 1, body = l (float[8] v) => (float[8] u) {{ u = MatMul(v, w) }}
  >
  y = Relu(b)
}}"""


@pytest.mark.parametrize(
    ("text", "kind", "macs"),
    [(IF, "If", 2 * 64), (LOOP, "Loop", 3 * 64), (SCAN, "Scan", 5 * 64)],
)
def test_a_subgraph_counts_its_macs_and_is_never_cut_open(text, kind, macs):
    graph = prepare(ir.from_proto(onnx.parser.parse_model(text)), simplify=False)
    (holder,) = [node for node in graph.nodes if node.op_type == kind]
    assert graph.node_macs[holder.name] == macs == graph.macs
    for cut in list_cuts(graph):
        assert sum(kind in {n.op_type for n in part.graph} for part in split(graph, [cut])) == 1


def test_a_loop_of_unknown_length_counts_its_body_once():
    text = LOOP.replace("float[1,8] x)", "float[1,8] x, int64 m)").replace(
        "(n, go, a)", "(m, go, a)"
    )
    graph = prepare(ir.from_proto(onnx.parser.parse_model(text)), simplify=False)
    assert graph.macs == 64
