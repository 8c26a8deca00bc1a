"""Early exit without training: skip repeated blocks, and make up for them in closed form."""

from tierwise.operators.early_exit.operator import (
    LEAST_SEARCH_INPUTS,
    EarlyExitOptions,
    early_exit,
)

__all__ = ["LEAST_SEARCH_INPUTS", "EarlyExitOptions", "early_exit"]
