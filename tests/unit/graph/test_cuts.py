"""Cuts and segments on small graphs whose answer one can see."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tierwise.errors import CutError
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import find_cut, list_cuts
from tierwise.graph.segments import split
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, open_session

AS_WRITTEN = SessionOptions(optimisation="none")

RESIDUAL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,4] x) => (float[1,4] y)
<float[4,4] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}, float[1] half = {0.5}>
{
  a = Relu(x)
  shared = Add(half, half)
  b = MatMul(a, w)
  c = Mul(b, shared)
  d = Add(a, c)
  y = Sigmoid(d)
}
"""
TWO_IN_TWO_OUT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,4] x, float[1,4] late) => (float[1,4] early, float[1,4] y)
{
  early = Relu(x)
  b = Neg(early)
  y = Add(b, late)
}
"""
QDQ = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,8] x) => (float[1,8] y)
<float s = {0.1}, uint8 z = {128}>
{
  a = Relu(x)
  q = QuantizeLinear(a, s, z)
  dq = DequantizeLinear(q, s, z)
  b = Sigmoid(dq)
  c = Add(b, dq)
  y = Tanh(c)
}
"""
BRANCHING = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2] x, bool flag) => (float[2] y)
{
  outer = Relu(x)
  other = Neg(outer)
  z = If(flag) <
    then_branch = then () => (float[2] t) { t = Add(outer, outer) },
    else_branch = otherwise () => (float[2] e) { e = Identity(outer) }
  >
  y = Add(z, other)
}
"""


def graph_of(text: str, *, simplify: bool = False) -> Graph:
    return prepare(ir.from_proto(onnx.parser.parse_model(text)), simplify=simplify)


def crossing(graph: Graph) -> list[tuple[str, ...]]:
    return [cut.names for cut in list_cuts(graph)]


def test_a_cut_holds_what_the_tail_reads_and_no_weights() -> None:
    graph = graph_of(RESIDUAL)
    assert crossing(graph) == [("a",), ("a", "b"), ("a", "c"), ("d",)]
    assert graph.from_weights == {"w", "half", "shared"}


def test_work_and_bytes_of_a_cut() -> None:
    first, second, *_ = list_cuts(graph_of(RESIDUAL))
    assert (first.head_macs, first.tail_macs, first.wire_bytes) == (0, 16, 16)
    assert (second.head_macs, second.tail_macs, second.wire_bytes) == (16, 0, 32)


def test_inputs_read_late_and_outputs_made_early_cross() -> None:
    graph = graph_of(TWO_IN_TWO_OUT)
    assert crossing(graph) == [("late", "early"), ("late", "early", "b")]
    head, tail = split(graph, [find_cut(graph, "b, late, early")])
    assert [value.name for value in head.graph.inputs] == ["x", "late"]
    assert [value.name for value in tail.graph.outputs] == ["early", "y"]


def test_integers_cross_behind_quantize() -> None:
    graph = graph_of(QDQ)
    assert crossing(graph) == [("q",), ("q", "b"), ("c",)]
    first = list_cuts(graph)[0]
    assert (first.id, first.wire_bytes, first.tensors[0].dtype) == ("q", 8, "uint8")
    _, tail = split(graph, [first])
    assert next(node.op_type for node in tail.graph) == "DequantizeLinear"


def test_a_subgraph_stays_whole_and_takes_what_it_captures_along() -> None:
    graph = graph_of(BRANCHING)
    assert crossing(graph) == [("flag", "outer"), ("outer", "z"), ("z", "other")]
    for flag in (True, False):
        feeds = {"x": np.array([1, -2], np.float32), "flag": np.array(flag)}
        with open_session(graph.model, AS_WRITTEN) as session:
            whole = session.run(feeds)
        for cut in list_cuts(graph):
            result = feeds
            for segment in split(graph, [cut]):
                onnx.checker.check_model(ir.to_proto(segment), full_check=True)
                with open_session(segment, AS_WRITTEN) as session:
                    result = session.run(result)
            np.testing.assert_array_equal(result["y"], whole["y"])


def test_a_cut_that_leaves_a_tensor_behind_names_it() -> None:
    with pytest.raises(CutError, match="Cut 'b' leaves 'a' behind: the tail reads it") as caught:
        find_cut(graph_of(RESIDUAL), "b")
    assert caught.value.left_behind == ("a",)
    assert "--cuts" in str(caught.value)


def test_an_input_that_only_the_tail_reads_is_left_behind_too() -> None:
    with pytest.raises(
        CutError, match=r"leaves 'late', 'early' behind: the tail reads them.*use cut 'b-x3'"
    ):
        find_cut(graph_of(TWO_IN_TWO_OUT), "b")


def test_a_misspelt_cut_gets_a_suggestion() -> None:
    with pytest.raises(CutError, match="no cut or tensor 'sharde'"):
        find_cut(graph_of(RESIDUAL), "sharde")
    with pytest.raises(CutError, match="Did you mean 'early'"):
        find_cut(graph_of(TWO_IN_TWO_OUT), "earlz")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("shared", "computed from weights alone"),
        ("a,d", "nothing behind the cut reads 'a'"),
        ("x", "leaves nothing to run before it"),
        ("y", "leaves nothing to run behind it"),
        ("1.5", "no share of the model's work"),
    ],
)
def test_cuts_that_make_no_sense_say_why(spec: str, text: str) -> None:
    with pytest.raises(CutError, match=text):
        find_cut(graph_of(RESIDUAL), spec)


def test_a_share_of_the_work_picks_the_nearest_cut_with_the_fewest_bytes() -> None:
    graph = graph_of(RESIDUAL)
    assert find_cut(graph, "0.1").names == ("a",)
    assert find_cut(graph, 0.9).names == ("d",)


def test_cuts_out_of_order_are_refused() -> None:
    graph = graph_of(RESIDUAL)
    early, late = find_cut(graph, "a"), find_cut(graph, "d")
    with pytest.raises(CutError, match=r"Cut 'd' does not separate.*heads growing"):
        split(graph, [late, early])


def test_ids_are_safe_in_file_names_and_unique() -> None:
    model = ir.from_proto(onnx.parser.parse_model(RESIDUAL))
    names = {"a": "/layer1/relu_1/Relu_output_0", "b": "385", "c": "0.5", "d": "LAYER1:relu_1.Relu"}
    for node in model.graph:
        for value in node.outputs:
            value.name = names.get(value.name, value.name)
    graph = Graph(prepare(model, simplify=False).model)
    assert [cut.id for cut in list_cuts(graph)] == [
        "layer1.relu_1.Relu",
        "t385-x2",
        "t0.5-x2",
        "LAYER1.relu_1.Relu.2",
    ]


def test_long_ids_begin_with_a_whole_word_and_say_what_is_quantized() -> None:
    model = ir.from_proto(onnx.parser.parse_model(RESIDUAL))
    names = {
        "a": "/features/features.13/conv/conv.1.0/GlobalAveragePool_output_0_QuantizeLinear_Output",
        "b": "a" * 60,
        "d": "classifier_of_everything/that_can_be_seen/with_one_eye/Add_output_0",
    }
    for node in model.graph:
        for value in node.outputs:
            value.name = names.get(value.name, value.name)
    graph = Graph(prepare(model, simplify=False).model)
    first, *_, last = [cut.id for cut in list_cuts(graph)]
    assert first == "conv.conv.1.0.GlobalAveragePool.quantized"
    assert last == "that_can_be_seen.with_one_eye.Add"
    assert find_cut(graph, names["d"]).id == last
