"""Quantize: static 8-bit integers, the recipe chosen by measurement, the quality guarded."""

from tierwise.operators.quantize.latency import LatencyMeter, LocalMeter, Meters, comparing_s
from tierwise.operators.quantize.operator import quantize
from tierwise.operators.quantize.outcome import QuantizedVariant
from tierwise.operators.quantize.recipe import (
    NNCF_RECIPES,
    RECIPES,
    Backend,
    BackendChoice,
    Calibration,
    Integer,
    Layout,
    Recipe,
    recipes_named,
    recipes_of,
)
from tierwise.operators.quantize.search import Attempt
from tierwise.operators.quantize.with_nncf import require_nncf

__all__ = [
    "NNCF_RECIPES",
    "RECIPES",
    "Attempt",
    "Backend",
    "BackendChoice",
    "Calibration",
    "Integer",
    "LatencyMeter",
    "Layout",
    "LocalMeter",
    "Meters",
    "QuantizedVariant",
    "Recipe",
    "comparing_s",
    "quantize",
    "recipes_named",
    "recipes_of",
    "require_nncf",
]
