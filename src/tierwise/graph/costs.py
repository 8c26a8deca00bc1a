"""Multiply-accumulates of ONNX operators: what a node costs where nothing was measured yet.

Counted are the operators whose work is a sum of products. Element-wise operators, pooling,
normalisation, data movement and comparisons count 0: their time is memory traffic, which no
count of operations predicts; a profile on the tier does. Bodies of ``Loop`` and ``Scan`` count 0
as well, because the number of iterations is not in the graph; of ``If`` the dearer branch counts.
"""

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from tierwise.graph.tensors import TensorInfo

Tensors = Mapping[str, TensorInfo]
_Count = Callable[[ir.Node, Tensors], int]

UNCOUNTED = (
    "Element-wise operators, pooling, normalisation and data movement count 0 MACs, "
    "and so do the bodies of Loop and Scan."
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


def _if(node: ir.Node, tensors: Tensors) -> int:
    branches = [attribute.as_graph() for attribute in node.attributes.values()
                if attribute.type == ir.AttributeType.GRAPH]  # fmt: skip
    return max((sum(macs(inner, tensors) for inner in branch) for branch in branches), default=0)


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
