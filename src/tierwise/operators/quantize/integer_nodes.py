"""Which nodes of a quantized model compute on integers, and which stayed in float."""

import onnx

from tierwise.graph.analysis import Graph, name_of

_DATA_MOVEMENT = frozenset(
    {
        "Cast", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad",
        "Reshape", "Shape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
        "Unsqueeze",
    }
)  # fmt: skip

_RANGES = frozenset({"Relu", "Clip"})
# Operators that need both of their operands in 8 bits.
_OF_TWO = frozenset({"Add", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "Mul", "Sub"})


def float_nodes(model: bytes, graph: Graph) -> tuple[str, ...]:
    """Nodes of ``graph`` that compute on floats in the quantized ``model``, most MACs first.

    Nodes that move data without computing are left out, and so are those that became part of a
    range (Relu, Clip).
    """
    proto = onnx.load_from_string(model)
    present, quantized = {node.name for node in proto.graph.node}, _quantized_nodes(proto)
    left = [
        (-graph.node_macs[name_of(node)], position, name_of(node))
        for position, node in enumerate(graph.data_nodes)
        if node.op_type not in _DATA_MOVEMENT and name_of(node) in present - quantized
    ]
    return tuple(name for _, _, name in sorted(left))


def quantized_nodes(model: bytes, graph: Graph) -> tuple[str, ...]:
    """Nodes of ``graph`` that compute on integers in ``model``, in canonical order."""
    quantized = _quantized_nodes(onnx.load_from_string(model))
    return tuple(name_of(node) for node in graph.nodes if name_of(node) in quantized)


def _quantized_nodes(proto: onnx.ModelProto) -> set[str]:
    """Names that nodes had before they were quantized."""
    dequantized = {
        output
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear"
        for output in node.output
    }
    requantized = {node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    found = set()
    # An activation right before QuantizeLinear becomes part of the range when it is executed.
    for node in reversed(proto.graph.node):
        if node.op_type in _RANGES and requantized.intersection(node.output):
            requantized.add(node.input[0])
            found.add(node.name)
    for node in proto.graph.node:
        if node.op_type in {"DequantizeLinear", "QuantizeLinear"}:
            continue
        if node.op_type.startswith("QLinear") or node.domain == "com.microsoft":
            found.add(node.name.removesuffix("_quant"))
        # ONNX Runtime computes it on integers if it sits between the two.
        elif requantized.intersection(node.output) and dequantized.issuperset(
            node.input[: 2 if node.op_type in _OF_TWO else 1]
        ):
            found.add(node.name)
    return found
