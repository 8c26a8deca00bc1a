"""Linear nodes of a graph as matrices: their inputs as rows, their weights to be replaced."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from jaxtyping import Float


@dataclass(frozen=True)
class LinearMap:
    """A Conv, Gemm or MatMul with constant weights, seen as ``rows @ weights + bias``.

    Attributes:
        kind: ``"Conv"``, ``"Gemm"`` or ``"MatMul"``.
        input_name: Tensor that it reads.
        output_name: Tensor that holds its result, bias included.
        weight_name: Initializer of its weights.
        bias_name: Initializer of its bias, or ``None`` where it has none yet.
        node_name: The node.
        features: Length of a row.
        outputs: Number of output channels.
        kernel, strides, dilations, pads: Of a Conv; empty otherwise. ``pads`` as ONNX has them:
            all beginnings, then all ends; ``None`` in place of pads: as ``auto_pad`` says.
        auto_pad: ONNX's attribute.
        transposed: Whether a Gemm's weights are stored as (outputs, features).
        groups: Of a Conv. With more than one, a row doesn't hold all that an output reads:
            :meth:`rows` and :func:`replace_weights` don't apply.
    """

    kind: str
    input_name: str
    output_name: str
    weight_name: str
    bias_name: str | None
    node_name: str
    features: int
    outputs: int
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    auto_pad: str = "NOTSET"
    transposed: bool = False
    groups: int = 1

    def positions(self, shape: Sequence[int]) -> int:
        """Number of rows that an output of ``shape`` has for one input."""
        sizes = shape[2:] if self.kind == "Conv" else shape[:-1]
        return int(np.prod(sizes, dtype=np.int64))

    def targets(self, y: np.ndarray, at: np.ndarray) -> Float[np.ndarray, "rows outputs"]:
        """Rows ``at`` of a tensor that has the shape of the output (batch of one)."""
        if self.kind == "Conv":
            return np.asarray(y[0].reshape(y.shape[1], -1)[:, at].T)
        return np.asarray(y.reshape(-1, y.shape[-1])[at])

    def rows(self, x: np.ndarray, at: np.ndarray) -> Float[np.ndarray, "rows features"]:
        """Rows ``at`` of the input ``x`` (batch of one): flattened patches for a Conv."""
        if self.kind != "Conv":
            return np.asarray(x.reshape(-1, x.shape[-1])[at])
        padded = np.pad(x[0], [(0, 0), *self._padding(x.shape[2:])])
        extent = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        axes = tuple(range(1, padded.ndim))
        windows: Any = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=axes)
        n = len(self.kernel)
        windows = windows[(slice(None), *(slice(None, None, s) for s in self.strides))]
        windows = windows[(..., *(slice(None, None, d) for d in self.dilations))]
        sizes = windows.shape[1 : 1 + n]
        picked = windows[(slice(None), *np.unravel_index(at, sizes))]
        return np.asarray(np.moveaxis(picked, 1, 0).reshape(len(at), -1))

    def _padding(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        if self.auto_pad in ("NOTSET", "VALID"):
            half = len(self.pads) // 2
            return list(zip(self.pads[:half], self.pads[half:], strict=True))
        padding = []
        for size, k, s, d in zip(sizes, self.kernel, self.strides, self.dilations, strict=True):
            total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            small, large = total // 2, total - total // 2
            padding.append((small, large) if self.auto_pad == "SAME_UPPER" else (large, small))
        return padding


def linear_map(node: ir.Node) -> LinearMap | None:
    """``node`` as a :class:`LinearMap`, or ``None`` where it isn't one that can be refitted."""
    if node.op_type not in ("Conv", "Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
        return None
    x, weight = node.inputs[0], node.inputs[1]
    if x is None or weight is None or weight.const_value is None or x.const_value is not None:
        return None
    shape = tuple(weight.const_value.shape.numpy())
    if node.op_type == "Conv":
        return _conv(node, x, weight, shape)
    if len(shape) != 2:
        return None
    if node.op_type == "Gemm":
        return _gemm(node, x, weight, shape)
    return _matmul(node, x, weight, shape)


def replace_weights(
    model: ir.Model, linear: LinearMap, weights: np.ndarray, bias: np.ndarray
) -> None:
    """Add ``weights`` (features, outputs) and ``bias`` (outputs) to those of ``linear``, in place.

    An initializer that other nodes read too is left alone; the node gets one of its own.
    """
    node = next(n for n in model.graph if n.name == linear.node_name)
    weight = node.inputs[1]
    assert weight is not None and weight.const_value is not None  # noqa: PT018 - one invariant
    present = weight.const_value.numpy()
    if linear.kind == "Conv":
        change = weights.T.reshape(present.shape)
    else:
        change = weights.T if linear.transposed else weights
    _set(model, node, 1, present + change.astype(present.dtype), linear.weight_name)
    holder, index = _bias_slot(model, node, linear)
    old = holder.inputs[index] if index < len(holder.inputs) else None
    value = bias.astype(present.dtype)
    if old is not None and old.const_value is not None:
        value = old.const_value.numpy() + value
    _set(model, holder, index, value, linear.bias_name or f"{linear.node_name}.bias")


def rescale_outputs(
    model: ir.Model,
    linear: LinearMap,
    scale: Float[np.ndarray, " outputs"],
    shift: Float[np.ndarray, " outputs"],
) -> None:
    """Make every output channel ``scale`` times what it was, plus ``shift``, in place.

    Folded into the node's weights and bias; exact, also for groups and at padded borders.
    """
    node = next(n for n in model.graph if n.name == linear.node_name)
    weight = node.inputs[1]
    assert weight is not None and weight.const_value is not None  # noqa: PT018 - one invariant
    present = weight.const_value.numpy()
    first = linear.kind == "Conv" or linear.transposed
    factors = scale.reshape(-1, *[1] * (present.ndim - 1)) if first else scale
    _set(model, node, 1, (present * factors).astype(present.dtype), linear.weight_name)
    holder, index = _bias_slot(model, node, linear)
    old = holder.inputs[index] if index < len(holder.inputs) else None
    bias = shift
    if old is not None and old.const_value is not None:
        bias = old.const_value.numpy() * scale + shift
    name = linear.bias_name or f"{linear.node_name}.bias"
    _set(model, holder, index, bias.astype(present.dtype), name)


def _conv(node: ir.Node, x: ir.Value, weight: ir.Value, shape: tuple[int, ...]) -> LinearMap | None:
    n = len(shape) - 2
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and bias.const_value is None:
        return None
    return LinearMap(
        kind="Conv",
        input_name=_name(x),
        output_name=_name(node.outputs[0]),
        weight_name=_name(weight),
        bias_name=None if bias is None else _name(bias),
        node_name=node.name or "",
        features=int(np.prod(shape[1:])),
        outputs=int(shape[0]),
        kernel=tuple(shape[2:]),
        strides=tuple(node.attributes.get_ints("strides", [1] * n) or ()),
        dilations=tuple(node.attributes.get_ints("dilations", [1] * n) or ()),
        pads=tuple(node.attributes.get_ints("pads", [0] * 2 * n) or ()),
        auto_pad=str(node.attributes.get_string("auto_pad", "NOTSET")),
        groups=int(node.attributes.get_int("group", 1) or 1),
    )


def _gemm(node: ir.Node, x: ir.Value, weight: ir.Value, shape: tuple[int, ...]) -> LinearMap | None:
    plain = (
        node.attributes.get_float("alpha", 1.0) == 1.0
        and node.attributes.get_float("beta", 1.0) == 1.0
        and node.attributes.get_int("transA", 0) == 0
    )
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if not plain or (bias is not None and bias.const_value is None):
        return None
    transposed = node.attributes.get_int("transB", 0) == 1
    features, outputs = (shape[1], shape[0]) if transposed else shape
    return LinearMap(
        kind="Gemm",
        input_name=_name(x),
        output_name=_name(node.outputs[0]),
        weight_name=_name(weight),
        bias_name=None if bias is None else _name(bias),
        node_name=node.name or "",
        features=int(features),
        outputs=int(outputs),
        transposed=transposed,
    )


def _matmul(
    node: ir.Node, x: ir.Value, weight: ir.Value, shape: tuple[int, ...]
) -> LinearMap | None:
    """A MatMul counts only with the Add of a constant vector behind it, which holds its bias."""
    uses = tuple(node.outputs[0].uses())
    if len(uses) != 1 or node.outputs[0].is_graph_output() or uses[0].node.op_type != "Add":
        return None
    add = uses[0].node
    bias = add.inputs[1 - uses[0].idx]
    if (
        bias is None
        or bias.const_value is None
        or tuple(bias.const_value.shape.numpy()) != shape[1:]
    ):
        return None
    return LinearMap(
        kind="MatMul",
        input_name=_name(x),
        output_name=_name(add.outputs[0]),
        weight_name=_name(weight),
        bias_name=_name(bias),
        node_name=node.name or "",
        features=int(shape[0]),
        outputs=int(shape[1]),
    )


def _bias_slot(model: ir.Model, node: ir.Node, linear: LinearMap) -> tuple[ir.Node, int]:
    """The node and the input index that hold the bias."""
    if linear.kind != "MatMul":
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        return node, 2
    add = next(iter(node.outputs[0].uses())).node
    index = next(i for i, value in enumerate(add.inputs) if value is not node.outputs[0])
    assert add in model.graph
    return add, index


def _set(model: ir.Model, node: ir.Node, index: int, array: np.ndarray, name: str) -> None:
    old = node.inputs[index]
    while name in model.graph.initializers and (
        old is None or len(old.uses()) > 1 or old.name != name
    ):
        name = f"{name}.{node.name}"
    fresh = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    fresh.shape, fresh.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
    node.replace_input_with(index, fresh)
    if old is not None and old.name in model.graph.initializers and not old.uses():
        del model.graph.initializers[_name(old)]
    model.graph.register_initializer(fresh)


def _name(value: ir.Value) -> str:
    assert value.name is not None
    return value.name
