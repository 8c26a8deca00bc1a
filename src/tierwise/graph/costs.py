"""Multiply-accumulates of ONNX operators: what a node costs where nothing was measured yet.

Counted are the operators whose work is a sum of products. Element-wise operators, pooling,
normalisation, data movement and comparisons count 0: their time is memory traffic, which no
count of operations predicts; a profile on the tier does. Of ``If`` the dearer branch counts; the
body of ``Scan`` counts once for each slice, and that of ``Loop`` as often as its trip count says,
where that is a constant, and once where it is not.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from tierwise.graph.tensors import TensorInfo

Tensors = Mapping[str, TensorInfo]
_Count = Callable[[ir.Node, Tensors], int]

UNCOUNTED = (
    "Element-wise operators, pooling, normalisation and data movement count 0 MACs; the body of a "
    "Loop whose trip count is no constant counts once."
)


def macs(node: ir.Node, tensors: Tensors) -> int:
    """Multiply-accumulates of one execution of ``node``; 0 for what :data:`UNCOUNTED` names.

    Args:
        node: A node of the graph that ``tensors`` describes.
        tensors: Concrete shapes by tensor name. Where the shape of an operand is not known
            (inside a subgraph), the node counts 0.
    """
    count = _COUNTS.get((_domain(node.domain), node.op_type))
    if count is None:
        return 0
    try:
        return count(node, tensors)
    except KeyError:
        return 0


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _shape(node: ir.Node, position: int, tensors: Tensors) -> tuple[int, ...]:
    """Shape of an input; ``KeyError`` where it is not known or not given."""
    value = node.inputs[position] if position < len(node.inputs) else None
    if value is None or value.name is None:
        raise KeyError(position)
    return _value_shape(value, tensors)


def _value_shape(value: ir.Value, tensors: Tensors) -> tuple[int, ...]:
    info = tensors.get(value.name or "")
    if info is not None:
        return info.shape
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        raise KeyError(value.name)
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]  # checked above


def _output(node: ir.Node, tensors: Tensors) -> tuple[int, ...]:
    return _value_shape(node.outputs[0], tensors)


def _conv(weight_position: int) -> _Count:
    def count(node: ir.Node, tensors: Tensors) -> int:
        # Weight (M, C / groups, *kernel): every output element sums over all but M.
        weight = _shape(node, weight_position, tensors)
        return math.prod(_output(node, tensors)) * math.prod(weight[1:])

    return count


def _conv_transpose(node: ir.Node, tensors: Tensors) -> int:
    # Weight (C, M / groups, *kernel): every input element is spread over all but C.
    return math.prod(_shape(node, 0, tensors)) * math.prod(_shape(node, 1, tensors)[1:])


def _deform_conv(node: ir.Node, tensors: Tensors) -> int:
    return math.prod(_output(node, tensors)) * math.prod(_shape(node, 1, tensors)[1:])


def _matmul(node: ir.Node, tensors: Tensors) -> int:
    return math.prod(_output(node, tensors)) * _shape(node, 0, tensors)[-1]


def _gemm(node: ir.Node, tensors: Tensors) -> int:
    rows, columns = _shape(node, 0, tensors)
    transposed = node.attributes.get_int("transA", 0)
    return math.prod(_output(node, tensors)) * (rows if transposed else columns)


def _recurrent(gates: int) -> _Count:
    def count(node: ir.Node, tensors: Tensors) -> int:
        # X (seq, batch, input); W (directions, gates * hidden, input).
        first, second, inputs = _shape(node, 0, tensors)
        directions, stacked, _ = _shape(node, 1, tensors)
        hidden = stacked // gates
        return first * second * directions * gates * hidden * (inputs + hidden)

    return count


def _attention_standard(node: ir.Node, tensors: Tensors) -> int:
    # Q and K share the head size; scores and their weighted sum of V. 3-D inputs fold heads in.
    query, key, value = (_shape(node, position, tensors) for position in range(3))
    if len(query) == 4:
        batch, heads, length, size = query
        return batch * heads * length * key[2] * (size + value[3])
    return query[0] * query[1] * key[1] * (query[2] + value[2])


def _attention_fused(node: ir.Node, tensors: Tensors) -> int:
    # com.microsoft::Attention projects first: X (batch, seq, hidden) by W (hidden, 3 * hidden).
    batch, length, hidden = _shape(node, 0, tensors)
    projected = _shape(node, 1, tensors)[1]
    return batch * length * hidden * projected + 2 * batch * length * length * (projected // 3)


def _multi_head_attention(node: ir.Node, tensors: Tensors) -> int:
    # com.microsoft::MultiHeadAttention: Q, K, V are projected already, (batch, seq, hidden).
    query, key = _shape(node, 0, tensors), _shape(node, 1, tensors)
    return 2 * query[0] * query[1] * key[1] * query[2]


def _einsum(node: ir.Node, tensors: Tensors) -> int:
    equation = node.attributes.get_string("equation", "").replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if len(terms) < 2 or "." in equation:
        return 0
    sizes: dict[str, int] = {}
    for position, term in enumerate(terms):
        sizes.update(zip(term, _shape(node, position, tensors), strict=True))
    return math.prod(sizes.values())


def _matmul_nbits(node: ir.Node, tensors: Tensors) -> int:
    return math.prod(_output(node, tensors)) * node.attributes.get_int("K", 0)


def _body(node: ir.Node, body: ir.Graph, tensors: Tensors) -> int:
    """A subgraph once, with the shapes that follow from those of the outer tensors it reads."""
    own = {*body.inputs, *body.initializers.values()}
    own |= {value for inner in body for value in inner.outputs}
    read = dict.fromkeys(value for inner in body for value in inner.inputs if value is not None)
    outer = [value for value in read if value not in own and value.name]
    weights = [*body.initializers.values(), *(one for one in outer if one.const_value is not None)]
    given = [*body.inputs, *(one for one in outer if one.const_value is None)]
    opsets = {} if node.graph is None else dict(node.graph.opset_imports)
    alone = ir.GraphView(
        given, list(body.outputs), nodes=list(body), initializers=weights,
        opset_imports=opsets,
        name=body.name or "body",
    ).clone()  # fmt: skip
    for value in alone.inputs:
        info = tensors.get(value.name or "")
        if info is not None and value.name in {one.name for one in outer}:
            value.shape = ir.Shape(info.shape)
            value.dtype = ir.DataType.from_numpy(np.dtype(info.dtype))
    passes.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(
        ir.Model(alone, ir_version=10)
    )
    return sum(macs(inner, {}) for inner in alone)


def _subgraphs(node: ir.Node) -> list[ir.Graph]:
    return [attribute.as_graph() for attribute in node.attributes.values()
            if attribute.type == ir.AttributeType.GRAPH]  # fmt: skip


def _if(node: ir.Node, tensors: Tensors) -> int:
    return max((_body(node, branch, tensors) for branch in _subgraphs(node)), default=0)


def _loop(node: ir.Node, tensors: Tensors) -> int:
    trips = node.inputs[0]
    count = 1
    if trips is not None and trips.const_value is not None:
        count = max(int(trips.const_value.numpy().reshape(-1)[0]), 0)
    return count * sum(_body(node, body, tensors) for body in _subgraphs(node))


def _scan(node: ir.Node, tensors: Tensors) -> int:
    slices = node.attributes.get_int("num_scan_inputs", 0)
    axes = node.attributes.get("scan_input_axes")
    axis = axes.as_ints()[0] if axes is not None else 0
    # Scanned inputs come last; every one of them has as many slices.
    scanned = _shape(node, len(node.inputs) - slices, tensors)
    return scanned[axis] * sum(_body(node, body, tensors) for body in _subgraphs(node))


_COUNTS: dict[tuple[str, str], _Count] = {
    ("", "Conv"): _conv(1),
    ("", "ConvInteger"): _conv(1),
    ("", "QLinearConv"): _conv(3),
    ("", "ConvTranspose"): _conv_transpose,
    ("", "DeformConv"): _deform_conv,
    ("", "MatMul"): _matmul,
    ("", "MatMulInteger"): _matmul,
    ("", "QLinearMatMul"): _matmul,
    ("", "Gemm"): _gemm,
    ("", "Einsum"): _einsum,
    ("", "LSTM"): _recurrent(4),
    ("", "GRU"): _recurrent(3),
    ("", "RNN"): _recurrent(1),
    ("", "Attention"): _attention_standard,
    ("", "If"): _if,
    ("", "Loop"): _loop,
    ("", "Scan"): _scan,
    ("com.microsoft", "FusedConv"): _conv(1),
    ("com.microsoft", "FusedMatMul"): _matmul,
    ("com.microsoft", "FusedGemm"): _gemm,
    ("com.microsoft", "QGemm"): _gemm,
    ("com.microsoft", "MatMulIntegerToFloat"): _matmul,
    ("com.microsoft", "DynamicQuantizeMatMul"): _matmul,
    ("com.microsoft", "DynamicQuantizeLSTM"): _recurrent(4),
    ("com.microsoft", "MatMulNBits"): _matmul_nbits,
    ("com.microsoft", "Attention"): _attention_fused,
    ("com.microsoft", "QAttention"): _attention_fused,
    ("com.microsoft", "MultiHeadAttention"): _multi_head_attention,
}
