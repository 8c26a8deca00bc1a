"""Where a shortened graph can be steered back: linear nodes and what they should have given."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from tierwise.operators.early_exit.linear import LinearMap, linear_map

# Elementwise functions of one tensor that stand between a residual sum and the block's output.
_ACTIVATIONS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "HardSwish", "Elu", "Selu", "Gelu", "Sigmoid", "Tanh", "Identity"}
)


@dataclass(frozen=True)
class Anchor:
    """A linear node of the shortened graph, and the tensor of the original it should help give.

    The wanted output of the node is ``target`` less ``shortcut`` (both where the node writes).

    Attributes:
        linear: The node.
        shortcut: Tensor that is added to the node's output, or ``None``.
        target: Tensor of the original graph, of the shape of the node's output.
    """

    linear: LinearMap
    shortcut: str | None
    target: str


def find_anchors(
    original: ir.Model, shortened: ir.Model, exits: Sequence[tuple[str, str]]
) -> tuple[Anchor, ...]:
    """The anchors of ``shortened``, in the order of the data.

    First the node right before every run of skipped blocks (it can absorb what they did), then
    the end of every residual block behind the first run (it can correct what drifted), last the
    final linear layer.

    Args:
        original: The graph before.
        shortened: The graph without the blocks of ``exits``; tensor names kept.
        exits: Pairs of tensors (from, to), in the order of the data.
    """
    skipped = {start: _end_of_run(start, dict(exits)) for start, _ in exits}
    order = {node.outputs[0].name: i for i, node in enumerate(shortened.graph)}
    first = min((order.get(start, 0) for start, _ in exits), default=0)
    values = {out.name: out for node in shortened.graph for out in node.outputs}
    values_original = {out.name: out for node in original.graph for out in node.outputs}
    anchors: dict[str, Anchor] = {}
    for name, value in values.items():
        producer = value.producer()
        if producer is None or name not in values_original or order.get(name, -1) < first:
            continue
        wanted = skipped.get(name or "", name)
        anchor = (
            _residual_anchor(value, values_original[wanted]) if wanted in values_original else None
        )
        if anchor is not None and (name in skipped or anchor.shortcut is not None):
            key = anchor.linear.node_name
            if key not in anchors or name in skipped:
                anchors[key] = anchor
    head = _head(shortened)
    if head is not None and head.output_name in values_original:
        anchors.setdefault(head.node_name, Anchor(head, None, head.output_name))
    return tuple(anchors.values())


def _end_of_run(start: str, exits: dict[str, str]) -> str:
    end = start
    while end in exits:
        end = exits[end]
    return end


def _residual_anchor(value: ir.Value, wanted: ir.Value) -> Anchor | None:
    """The linear node that ends in ``value``, to be steered towards ``wanted``."""
    here, functions = _before_activation(value)
    there, functions_there = _before_activation(wanted)
    if functions != functions_there:
        return None
    producer = here.producer()
    if producer is None:
        return None
    if producer.op_type != "Add":
        linear = linear_map(producer)
        return None if linear is None else Anchor(linear, None, there.name or "")
    found = []
    for mine, other in ((0, 1), (1, 0)):
        operand, shortcut = producer.inputs[mine], producer.inputs[other]
        if operand is None or shortcut is None or shortcut.const_value is not None:
            continue
        linear = _linear_behind(operand)
        if linear is not None and len(operand.uses()) == 1 and not operand.is_graph_output():
            found.append(Anchor(linear, shortcut.name, there.name or ""))
    return max(found, key=lambda anchor: anchor.linear.features, default=None)


def _linear_behind(value: ir.Value) -> LinearMap | None:
    """The linear map whose result (with its bias) is ``value``."""
    producer = value.producer()
    if producer is None:
        return None
    if producer.op_type == "Add":  # a MatMul's bias
        for operand in producer.inputs:
            inner = operand.producer() if operand is not None else None
            linear = linear_map(inner) if inner is not None else None
            if linear is not None and linear.output_name == value.name:
                return linear
        return None
    linear = linear_map(producer)
    return linear if linear is not None and linear.output_name == value.name else None


def _before_activation(value: ir.Value) -> tuple[ir.Value, tuple[str, ...]]:
    """The tensor before the activations that end in ``value``, and which those are."""
    functions: list[str] = []
    while True:
        producer = value.producer()
        if producer is None or producer.op_type not in _ACTIVATIONS or producer.inputs[0] is None:
            return value, tuple(functions)
        functions.append(producer.op_type)
        value = producer.inputs[0]


def _head(model: ir.Model) -> LinearMap | None:
    """The last linear map before an output."""
    for node in reversed(list(model.graph)):
        linear = linear_map(node)
        if linear is not None:
            return linear
    return None
