"""Residual blocks are found by structure, and skipping them leaves a valid model."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tierwise.errors import ExitError
from tierwise.graph.analysis import Graph
from tierwise.graph.blocks import exit_candidates, find_exit, joined, runs
from tierwise.graph.skip import skip_blocks
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, open_session

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
WEIGHTS = "<float[4,4] w = {1,2,0,1, 0,1,0,3, 1,0,1,0, 0,2,0,1}, float[4] g = {1,2,1,2}>"
POST_ACTIVATION = f"""{HEADER}
net (float[3,4] x) => (float[3,4] y) {WEIGHTS} {{
  a = Relu(x)
  b1 = MatMul(a, w)
  b2 = Relu(b1)
  b3 = MatMul(b2, w)
  s1 = Add(b3, a)
  r1 = Relu(s1)
  c1 = MatMul(r1, w)
  s2 = Add(r1, c1)
  y = Relu(s2)
}}"""
PRE_NORM = f"""{HEADER}
net (float[3,4] x, float[3,4] mask) => (float[3,4] y) {WEIGHTS} {{
  n1 = LayerNormalization(x, g)
  m1 = MatMul(n1, w)
  k1 = Add(m1, mask)
  s1 = Add(x, k1)
  n2 = LayerNormalization(s1, g)
  m2 = MatMul(n2, w)
  t2 = Tanh(m2)
  s2 = Add(s1, t2)
  y = LayerNormalization(s2, g)
}}"""
POST_NORM = f"""{HEADER}
net (float[3,4] x) => (float[3,4] y) {WEIGHTS} {{
  n0 = LayerNormalization(x, g)
  m1 = MatMul(n0, w)
  s1 = Add(m1, n0)
  n1 = LayerNormalization(s1, g)
  m2 = MatMul(n1, w)
  s2 = Add(n1, m2)
  n2 = LayerNormalization(s2, g)
  y = Tanh(n2)
}}"""


def graph_of(text: str) -> Graph:
    return prepare(ir.from_proto(onnx.parser.parse_model(text)), simplify=False)


def pairs(graph: Graph) -> list[tuple[str, str]]:
    return [(found.from_tensor, found.to_tensor) for found in exit_candidates(graph)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (POST_ACTIVATION, [("a", "r1"), ("r1", "y")]),
        (PRE_NORM, [("x", "s1"), ("s1", "s2")]),
        (POST_NORM, [("n0", "n1"), ("n1", "n2")]),
    ],
    ids=["CNN, activation behind the sum", "transformer, pre-norm", "transformer, post-norm"],
)
def test_blocks_of_each_family(text: str, expected: list[tuple[str, str]]) -> None:
    graph = graph_of(text)
    assert pairs(graph) == expected
    assert [len(run) for run in runs(exit_candidates(graph))] == [2]


def test_a_block_that_something_else_looks_into_is_no_candidate() -> None:
    text = POST_ACTIVATION.replace("=> (float[3,4] y)", "=> (float[3,4] y, float[3,4] b2)")
    assert pairs(graph_of(text)) == [("r1", "y")]


def test_a_decomposed_activation_is_no_block() -> None:
    text = f"{HEADER} net (float[4] x) => (float[4] y) {{ t = Tanh(x) y = Add(x, t) }}"
    assert pairs(graph_of(text)) == []


@pytest.mark.parametrize("text", [POST_ACTIVATION, PRE_NORM, POST_NORM])
def test_skipping_saves_what_it_says_and_keeps_names(text: str) -> None:
    graph = graph_of(text)
    for exits in ([c] for c in (*exit_candidates(graph), joined(exit_candidates(graph)))):
        model = skip_blocks(graph, exits)
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
        shorter = prepare(model, simplify=False)
        assert shorter.macs == graph.macs - exits[0].saved_macs
        assert [t.name for t in shorter.inputs] == [t.name for t in graph.inputs]
        assert shorter.outputs == graph.outputs
    one_by_one = skip_blocks(graph, exit_candidates(graph))
    assert len(one_by_one.graph) == len(model.graph)


def test_skipping_computes_what_the_readers_would_get() -> None:
    graph = graph_of(POST_ACTIVATION)
    x = np.array([[1, -2, 3, -4]] * 3, np.float32)
    model = skip_blocks(graph, exit_candidates(graph))
    with open_session(model, SessionOptions(optimisation="none")) as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], np.maximum(x, 0))


def test_an_exit_by_name_says_what_it_saves() -> None:
    graph = graph_of(POST_ACTIVATION)
    assert find_exit(graph, "b1", "b3").saved_macs == 3 * 4 * 4
    assert find_exit(graph, "a", "r1") == exit_candidates(graph)[0]


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        (("a", "nothing"), "There is no tensor 'nothing'"),
        (("w", "r1"), "There is no tensor 'w' that an exit could use"),
        (("r1", "a"), "'a' is not computed from 'r1'"),
    ],
)
def test_exits_that_make_no_sense_say_why(ends: tuple[str, str], text: str) -> None:
    with pytest.raises(ExitError, match=text):
        find_exit(graph_of(POST_ACTIVATION), *ends)


def test_an_exit_between_different_shapes_names_both() -> None:
    text = f"{HEADER} net (float[2,4] x) => (float[4,2] y) {{ a = Relu(x) y = Transpose(a) }}"
    with pytest.raises(ExitError, match=r"float32 of shape 2x4 cannot stand for .* 4x2"):
        find_exit(graph_of(text), "a", "y")


def test_blocks_that_do_not_follow_each_other_cannot_be_joined() -> None:
    first, second = exit_candidates(graph_of(POST_ACTIVATION))
    with pytest.raises(ExitError, match="is not followed by"):
        joined([second, first])
