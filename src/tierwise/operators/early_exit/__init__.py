"""Early exit without training: skip repeated blocks, and make up for them in closed form."""

from tierwise.operators.early_exit.front import deepest_within
from tierwise.operators.early_exit.operator import (
    FRONT,
    LEAST_SEARCH_INPUTS,
    EarlyExitOptions,
    early_exit,
)
from tierwise.operators.early_exit.refit import Means

__all__ = [
    "FRONT",
    "LEAST_SEARCH_INPUTS",
    "EarlyExitOptions",
    "Means",
    "deepest_within",
    "early_exit",
]
