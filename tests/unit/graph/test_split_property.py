"""Any generated graph, any cut: chained segments are the whole, bit for bit."""

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import cut_at, list_cuts
from tierwise.graph.segments import split
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, open_session

SHAPE = (2, 4)
AS_WRITTEN = SessionOptions(optimisation="none")
UNARY = ("Relu", "Neg", "Tanh", "Sigmoid", "Abs")
BINARY = ("Add", "Sub", "Mul", "Max")


class Builder:
    """Grows a graph of tensors of one shape, so that any can be read by any node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: list[str], outputs: int = 1, **attributes: object) -> list[str]:
        names = [f"{op.lower()}{len(self.nodes)}.{index}" for index in range(outputs)]
        self.nodes.append(
            helper.make_node(op, inputs, names, name=f"n{len(self.nodes)}", **attributes)
        )
        return names

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def quantized(self, x: str) -> str:
        scale = self.weight(np.array(0.05, np.float32))
        zero = self.weight(np.array(120, np.uint8))
        (q,) = self.node("QuantizeLinear", [x, scale, zero])
        return self.node("DequantizeLinear", [q, scale, zero])[0]

    def matmul(self, x: str, seed: int) -> str:
        weight = np.random.default_rng(seed).standard_normal((4, 4)).astype(np.float32)
        # A weight that is computed: a chain over weights alone.
        (chain,) = self.node("Transpose", [self.weight(weight)])
        (chain,) = self.node("Identity", [chain])
        return self.node("MatMul", [x, chain])[0]

    def halves(self, x: str) -> str:
        parts = self.node("Split", [x, self.weight(np.array([1, 3]))], 2, axis=1)
        return self.node("Concat", parts[::-1], axis=1)[0]

    def reshaped_like(self, x: str, y: str) -> str:
        (shape,) = self.node("Shape", [y])
        return self.node("Reshape", [x, shape])[0]

    def branch(self, x: str, y: str) -> str:
        (total,) = self.node("ReduceSum", [x], keepdims=0)
        (flag,) = self.node("Greater", [total, self.weight(np.array(0, np.float32))])
        tag = f"b{len(self.nodes)}"
        result = [helper.make_tensor_value_info(f"{tag}t", TensorProto.FLOAT, SHAPE)]
        then = helper.make_graph(
            [helper.make_node("Add", [x, y], [f"{tag}t"])], f"{tag}then", [], result
        )
        result = [helper.make_tensor_value_info(f"{tag}e", TensorProto.FLOAT, SHAPE)]
        other = helper.make_graph(
            [helper.make_node("Neg", [y], [f"{tag}e"])], f"{tag}else", [], result
        )
        return self.node("If", [flag], then_branch=then, else_branch=other)[0]


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    inputs = [f"x{index}" for index in range(draw(st.integers(1, 3)))]
    builder = Builder()
    pool = list(inputs)

    def pick() -> str:
        # Recent tensors are likelier, so that graphs get deep; any may be read again.
        return pool[-1 - draw(st.integers(0, min(len(pool) - 1, 5)))]

    for _ in range(draw(st.integers(2, 12))):
        kind = draw(
            st.sampled_from(["unary", "binary", "binary", "matmul", "qdq", "split", "shape", "if"])
        )
        if kind == "unary":
            pool += builder.node(draw(st.sampled_from(UNARY)), [pick()])
        elif kind == "binary":
            pool += builder.node(draw(st.sampled_from(BINARY)), [pick(), pick()])
        elif kind == "matmul":
            pool.append(builder.matmul(pick(), draw(st.integers(0, 9))))
        elif kind == "qdq":
            pool.append(builder.quantized(pick()))
        elif kind == "split":
            pool.append(builder.halves(pick()))
        elif kind == "shape":
            pool.append(builder.reshaped_like(pick(), pick()))
        else:
            pool.append(builder.branch(pick(), pick()))
    made = [name for name in pool if name not in inputs]
    extra = draw(st.lists(st.sampled_from(made), max_size=2, unique=True))
    outputs = list(dict.fromkeys([*extra, made[-1]]))

    def info(names: list[str]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in names]

    graph = helper.make_graph(
        builder.nodes, "generated", info(inputs), info(outputs), builder.weights
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="test"
    )


def feeds_of(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {t.name: rng.standard_normal(t.shape).astype(t.dtype) for t in graph.inputs}


def chained(segments: tuple[ir.Model, ...], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for segment in segments:
        onnx.checker.check_model(ir.to_proto(segment), full_check=True)
        with open_session(segment, AS_WRITTEN) as session:
            assert [port.name for port in session.inputs] == [*feeds]
            feeds = session.run(feeds)
    return feeds


@settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(model=models(), data=st.data())
def test_chained_segments_are_the_whole_bit_for_bit(
    model: onnx.ModelProto, data: st.DataObject
) -> None:
    graph = prepare(ir.from_proto(model), simplify=data.draw(st.booleans(), label="simplify"))
    feeds = feeds_of(graph)
    with open_session(graph.model, AS_WRITTEN) as session:
        whole = session.run(feeds)
    cuts = list_cuts(graph)
    chains = [[cut] for cut in cuts]
    if len(cuts) > 1:
        picked = data.draw(st.sets(st.integers(0, len(cuts) - 1), min_size=2, max_size=4))
        chains = [chains[data.draw(st.integers(0, len(cuts) - 1))]]
        chains.append([cuts[index] for index in sorted(picked)])
    for chain in chains:
        result = chained(split(graph, chain), feeds)
        assert [*result] == [*whole]
        for name, array in whole.items():
            np.testing.assert_array_equal(result[name], array)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(model=models())
def test_listed_cuts_separate_and_say_what_they_cost(model: onnx.ModelProto) -> None:
    graph = prepare(ir.from_proto(model), simplify=False)
    cuts = list_cuts(graph)
    assert len(cuts) <= len(graph.data_nodes)
    assert len({cut.id.casefold() for cut in cuts}) == len(cuts)
    assert len({frozenset(cut.names) for cut in cuts}) == len(cuts)
    for cut in cuts:
        again = cut_at(graph, cut.names)  # by backward reachability, without the canonical order
        assert ({*again.names}, again.wire_bytes) == ({*cut.names}, cut.wire_bytes)
        assert (again.head_macs, again.tail_macs) == (cut.head_macs, cut.tail_macs)
        assert cut.head_macs + cut.tail_macs == graph.macs
