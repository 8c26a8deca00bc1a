"""Make the model of a recipe, with ONNX Runtime's quantizer."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import (
    QuantizationMode,
    QuantType,
    save_and_reload_model_with_shape_infer,
)

from tierwise.disk import writing
from tierwise.errors import ModelError, TierwiseError
from tierwise.graph.analysis import Graph, name_of
from tierwise.operators.quantize.calibrate import QUANTIZABLE_OPS, Calibrator, Feeds
from tierwise.operators.quantize.recipe import PRODUCTS, Integer, Layout, Recipe
from tierwise.quality.metrics import relative_error
from tierwise.runtime.session import SessionOptions, open_session

_TYPES = {Integer.UINT8: QuantType.QUInt8, Integer.INT8: QuantType.QInt8}
# DequantizeLinear knows an axis, and so scales per channel, since opset 13.
_PER_CHANNEL_OPSET = 13
_DATA_MOVEMENT = frozenset(
    {
        "Cast", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad",
        "Reshape", "Shape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
        "Unsqueeze",
    }
)  # fmt: skip
# Converting an opset re-expresses operators; more than rounding means that it went wrong.
_CONVERSION_TOLERANCE = 1e-4
# What ONNX Runtime's quantizer raises for graphs that it does not understand; it has no errors
# of its own.
_QUANTIZER_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, AssertionError,
    NotImplementedError,
)  # fmt: skip


class CannotQuantize(TierwiseError):
    """A recipe that this model cannot be quantized with; the search goes on with the next."""


class Builder:
    """Builds quantized models of one graph."""

    def __init__(self, graph: Graph, feeds: Sequence[Feeds]) -> None:
        """Prepare ``graph`` for quantization, calibrated on ``feeds``.

        Raises:
            CannotQuantize: the graph cannot be brought into a form that can be quantized.
        """
        self.notes: list[str] = []
        model = _named(graph.model)
        proto: onnx.ModelProto = ir.to_proto(model)
        if graph.opset < _PER_CHANNEL_OPSET:
            proto = self._raise_opset(proto, graph.opset, feeds[0])
        self._opset = int(
            next(o.version for o in proto.opset_import if o.domain in {"", "ai.onnx"})
        )
        try:
            with writing(Path(gettempdir())):
                self._proto = save_and_reload_model_with_shape_infer(proto)
        except _QUANTIZER_ERRORS as exc:
            raise CannotQuantize(f"its shapes cannot be inferred: {exc}") from exc
        self._calibrator = Calibrator(self._proto, feeds)
        with open_session(proto.SerializeToString(), SessionOptions()) as session:
            self._ports = (session.inputs, session.outputs)

    @property
    def model(self) -> bytes:
        """The float model that recipes start from."""
        content: bytes = self._proto.SerializeToString()
        return content

    @property
    def per_channel(self) -> bool:
        """Whether the model's opset allows one scale per channel."""
        return self._opset >= _PER_CHANNEL_OPSET

    def build(self, recipe: Recipe, only: Sequence[str] = ()) -> bytes:
        """The model quantized by ``recipe``; the same bytes whenever it is called.

        Args:
            recipe: How.
            only: Quantize just these nodes; empty: all but those that the recipe excludes.

        Raises:
            CannotQuantize: ONNX Runtime cannot build or cannot execute it, or it would change the
                model's inputs or outputs.
        """
        if recipe.per_channel and not self.per_channel:
            raise CannotQuantize(f"opset {self._opset} has no scales per channel (13 has)")
        try:
            ranges = self._calibrator.ranges(recipe.calibration)
            with _without_warnings():
                quantizer = self._quantizer(recipe, ranges, list(only))
                quantizer.quantize_model()
            # It leaves nodes unsorted, and its own sorting overlooks what subgraphs read.
            quantized = ir.from_proto(quantizer.model.model)
            quantized.graph.sort()
            content: bytes = ir.to_proto(quantized).SerializeToString()
        except _QUANTIZER_ERRORS as exc:
            raise CannotQuantize(f"ONNX Runtime's quantizer fails: {_first_line(exc)}") from exc
        try:
            with open_session(content, SessionOptions()) as session:
                ports = (session.inputs, session.outputs)
        except ModelError as exc:
            raise CannotQuantize(f"ONNX Runtime cannot execute it: {exc.message}") from exc
        if ports != self._ports:
            raise CannotQuantize("its inputs and outputs would not stay as they are")
        return content

    def _quantizer(
        self, recipe: Recipe, ranges: object, only: list[str]
    ) -> QDQQuantizer | ONNXQuantizer:
        # `quantize_static` calibrates again for every call; its two quantizers take ranges.
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        types = (_TYPES[recipe.weights], _TYPES[recipe.activations])
        shape = (recipe.per_channel, recipe.reduce_range)
        operations = PRODUCTS if recipe.products_only else QUANTIZABLE_OPS
        rest: tuple[Any, ...] = (ranges, only, list(recipe.excluded), list(operations), {})
        if recipe.layout is Layout.QDQ:
            return QDQQuantizer(proto, *shape, *types, *rest)
        return ONNXQuantizer(proto, *shape, QuantizationMode.QLinearOps, True, *types, *rest)  # noqa: FBT003 - its own signature

    def _raise_opset(self, proto: onnx.ModelProto, opset: int, feeds: Feeds) -> onnx.ModelProto:
        """Opset 13 where that changes nothing, so that weights can have scales per channel."""
        try:
            raised = onnx.version_converter.convert_version(proto, _PER_CHANNEL_OPSET)
            error = _difference(proto, raised, feeds)
        except (RuntimeError, ModelError, onnx.checker.ValidationError) as exc:
            reason = _first_line(exc)
        else:
            if error <= _CONVERSION_TOLERANCE:
                self.notes.append(f"opset {opset} raised to {_PER_CHANNEL_OPSET}")
                return raised
            reason = f"its output changes by {error:.2g}"
        self.notes.append(
            f"opset {opset} cannot be raised to {_PER_CHANNEL_OPSET} ({reason}): one scale per "
            "tensor instead of one per channel"
        )
        return proto


@contextmanager
def _without_warnings() -> Iterator[None]:
    """ONNX Runtime logs a line for every normalisation weight that has no channel axis.

    It scales those per tensor, as it must; nobody has to do anything about it.
    """
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _difference(before: onnx.ModelProto, after: onnx.ModelProto, feeds: Feeds) -> float:
    """The largest relative difference between the outputs of two models."""
    options = SessionOptions(optimisation="basic")
    with (
        open_session(before.SerializeToString(), options) as one,
        open_session(after.SerializeToString(), options) as other,
    ):
        expected, got = one.run(feeds), other.run(feeds)
    return max(
        relative_error(got[name].astype(np.float64), value.astype(np.float64))
        for name, value in expected.items()
    )


def _named(model: ir.Model) -> ir.Model:
    """The model as ONNX Runtime's quantizer wants it; names of nodes stay."""
    model = model.clone()
    # It finds weights among initializers only.
    passes.LiftConstantsToInitializersPass(lift_all_constants=False)(model)
    return model


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
    for node in proto.graph.node:
        if node.op_type in {"DequantizeLinear", "QuantizeLinear"}:
            continue
        if node.op_type.startswith("QLinear") or node.domain == "com.microsoft":
            found.add(node.name.removesuffix("_quant"))
        # ONNX Runtime computes it on integers if it sits between the two.
        elif requantized.intersection(node.output) and dequantized.intersection(node.input):
            found.add(node.name)
    return found


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
