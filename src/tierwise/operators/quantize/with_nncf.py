"""Quantize with NNCF, an optional second back end: the extra ``nncf``.

NNCF decides itself which tensors get a range, and corrects the biases of convolutions by what
rounding shifts on average; ONNX Runtime's quantizer does neither. What comes out is QDQ in
standard ONNX all the same.
"""

import contextlib
import io
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import onnx

from tierwise.errors import MissingExtra
from tierwise.operators.quantize.calibrate import Feeds
from tierwise.operators.quantize.recipe import Calibration, Integer, Layout, Recipe
from tierwise.runtime.session import ORT_ERRORS

# NNCF reports its use to a server of its makers unless this is set when it is imported. Whoever
# quantizes with Tierwise did not agree to that.
_NO_TELEMETRY = "NNCF_CI"


def require_nncf() -> Any:
    """The package, imported without its telemetry.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ.setdefault(_NO_TELEMETRY, "1")
    try:
        import nncf  # noqa: PLC0415 - optional, and it takes most of a second
    except ImportError as error:
        raise MissingExtra(
            f"Recipes of NNCF need the package nncf; {error.name} is not installed.",
            hint="Install it: pip install 'tierwise[nncf]'. Or take the back end onnxruntime.",
            extra="nncf",
        ) from error
    nncf.set_log_level(40)  # errors only: its other lines are about NNCF's own choices
    return nncf


def quantize_with_nncf(
    model: onnx.ModelProto, feeds: Sequence[Feeds], recipe: Recipe, only: Sequence[str]
) -> onnx.ModelProto:
    """``model`` (not changed) quantized by ``recipe``; raises whatever NNCF raises.

    Args:
        model: Float, with inferred shapes.
        feeds: What ranges are found from.
        recipe: QDQ, uint8 activations, int8 weights; MinMax or Percentile.
        only: Quantize just these nodes; empty: all but those that the recipe excludes.

    Raises:
        MissingExtra: NNCF is not installed.
        ValueError: NNCF has no such recipe.
    """
    nncf = require_nncf()
    types = (recipe.layout, recipe.activations, recipe.weights)
    if types != (Layout.QDQ, Integer.UINT8, Integer.INT8):
        raise ValueError("NNCF makes QDQ with uint8 activations and int8 weights only")
    if recipe.products_only:
        raise ValueError("NNCF chooses itself which operators stay in float")
    advanced = nncf.quantization.advanced_parameters
    ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet
    found_by = {
        Calibration.MIN_MAX: ranges.MINMAX,
        Calibration.PERCENTILE: ranges.MEAN_QUANTILE,
    }
    if recipe.calibration not in found_by:
        raise ValueError(f"NNCF has no {recipe.calibration.value} calibration")
    fix = advanced.OverflowFix.ENABLE if recipe.reduce_range else advanced.OverflowFix.DISABLE
    parameters = advanced.AdvancedQuantizationParameters(
        overflow_fix=fix,
        # Its own choice for depthwise convolutions is one scale per channel of the activation,
        # which ONNX Runtime has no kernel for: EfficientNet-Lite0 took 2.47 x the time of fp32.
        activations_quantization_params=advanced.QuantizationParameters(per_channel=False),
        activations_range_estimator_params=found_by[recipe.calibration],
        weights_quantization_params=advanced.QuantizationParameters(per_channel=recipe.per_channel),
    )
    # It shows its progress, which would spoil JSON on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            quantized: onnx.ModelProto = nncf.quantize(
                model,
                nncf.Dataset([dict(one) for one in feeds]),
                subset_size=len(feeds),
                ignored_scope=nncf.IgnoredScope(
                    names=_in_float(model, recipe, only), validate=False
                ),
                advanced_parameters=parameters,
            )
        except (*_errors_of(nncf), *ORT_ERRORS) as exc:
            raise ValueError(str(exc)) from exc
    return quantized


def _errors_of(nncf: ModuleType) -> tuple[type[Exception], ...]:
    """NNCF's own errors, which have no common base."""
    return tuple(
        kind
        for kind in vars(nncf.errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    )


def _in_float(model: onnx.ModelProto, recipe: Recipe, only: Sequence[str]) -> list[str]:
    """Nodes that NNCF must leave alone, in the order of the graph."""
    excluded, alone = set(recipe.excluded), set(only)
    return [
        node.name
        for node in model.graph.node
        if node.name in excluded or (alone and node.name not in alone)
    ]
