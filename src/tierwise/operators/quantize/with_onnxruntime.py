"""Quantize with ONNX Runtime's quantizer."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode, QuantType

from tierwise.operators.quantize.calibrate import QUANTIZABLE_OPS
from tierwise.operators.quantize.recipe import PRODUCTS, Integer, Layout, Recipe

_TYPES = {Integer.UINT8: QuantType.QUInt8, Integer.INT8: QuantType.QInt8}


def quantize_with_onnxruntime(
    model: onnx.ModelProto, ranges: TensorsData, recipe: Recipe, only: Sequence[str]
) -> onnx.ModelProto:
    """``model`` (not changed) quantized by ``recipe``; raises whatever the quantizer raises.

    Args:
        model: Float, with inferred shapes.
        ranges: Of every activation.
        recipe: How.
        only: Quantize just these nodes; empty: all but those that the recipe excludes.
    """
    # `quantize_static` calibrates again for every call; its two quantizers take ranges.
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    types = (_TYPES[recipe.weights], _TYPES[recipe.activations])
    shape = (recipe.per_channel, recipe.reduce_range)
    operations = PRODUCTS if recipe.products_only else QUANTIZABLE_OPS
    rest: tuple[Any, ...] = (ranges, list(only), list(recipe.excluded), list(operations), {})
    with _without_warnings():
        if recipe.layout is Layout.QDQ:
            quantizer = QDQQuantizer(proto, *shape, *types, *rest)
        else:
            static = True  # ranges are known, instead of found in every inference
            modes = (QuantizationMode.QLinearOps, static)
            quantizer = ONNXQuantizer(proto, *shape, *modes, *types, *rest)
        quantizer.quantize_model()
    return quantizer.model.model


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
