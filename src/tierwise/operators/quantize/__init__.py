"""Quantize: static 8-bit integers, the recipe chosen by measurement, the quality guarded."""

from tierwise.operators.quantize.latency import LatencyMeter, LocalMeter
from tierwise.operators.quantize.recipe import RECIPES, Calibration, Integer, Layout, Recipe
from tierwise.operators.quantize.search import Attempt, QuantizedVariant, quantize

__all__ = [
    "RECIPES",
    "Attempt",
    "Calibration",
    "Integer",
    "LatencyMeter",
    "Layout",
    "LocalMeter",
    "QuantizedVariant",
    "Recipe",
    "quantize",
]
