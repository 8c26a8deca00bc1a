"""Make the model of a recipe, and check that it is still the subject's."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxruntime.quantization.quant_utils import save_and_reload_model_with_shape_infer

from tierwise.disk import writing
from tierwise.errors import ModelError, TierwiseError
from tierwise.graph.analysis import Graph
from tierwise.operators.quantize.calibrate import Calibrator, Feeds
from tierwise.operators.quantize.recipe import Backend, Recipe
from tierwise.operators.quantize.with_nncf import quantize_with_nncf
from tierwise.operators.quantize.with_onnxruntime import quantize_with_onnxruntime
from tierwise.quality.metrics import relative_error
from tierwise.runtime.session import SessionOptions, open_session

# DequantizeLinear knows an axis, and so scales per channel, since opset 13.
_PER_CHANNEL_OPSET = 13
# Converting an opset re-expresses operators; more than rounding means that it went wrong.
_CONVERSION_TOLERANCE = 1e-4
# What quantizers raise for graphs that they do not understand: ONNX Runtime's has no errors of its
# own, and those of NNCF become a ValueError.
_QUANTIZER_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, AssertionError,
    NotImplementedError,
)  # fmt: skip


_WHOSE = {Backend.ONNXRUNTIME: "ONNX Runtime's", Backend.NNCF: "NNCF's"}


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
        self._feeds = feeds
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
            CannotQuantize: the quantizer cannot build it, ONNX Runtime cannot execute it, or it
                would change the model's inputs or outputs.
            MissingExtra: the recipe's back end is not installed.
        """
        if recipe.per_channel and not self.per_channel:
            raise CannotQuantize(f"opset {self._opset} has no scales per channel (13 has)")
        try:
            if recipe.backend is Backend.NNCF:
                proto = quantize_with_nncf(self._proto, self._feeds, recipe, only)
            else:
                ranges = self._calibrator.ranges(recipe.calibration)
                proto = quantize_with_onnxruntime(self._proto, ranges, recipe, only)
            # Nodes come unsorted, and ONNX Runtime's own sorting overlooks what subgraphs read.
            quantized = ir.from_proto(proto)
            quantized.graph.sort()
            content: bytes = ir.to_proto(quantized).SerializeToString()
        except _QUANTIZER_ERRORS as exc:
            whose = _WHOSE[recipe.backend]
            raise CannotQuantize(f"{whose} quantizer fails: {_first_line(exc)}") from exc
        try:
            with open_session(content, SessionOptions()) as session:
                ports = (session.inputs, session.outputs)
        except ModelError as exc:
            raise CannotQuantize(f"ONNX Runtime cannot execute it: {exc.message}") from exc
        if ports != self._ports:
            raise CannotQuantize("its inputs and outputs would not stay as they are")
        return content

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


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
