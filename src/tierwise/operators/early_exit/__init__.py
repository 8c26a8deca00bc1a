"""Early exit without training: skip repeated blocks, and make up for them in closed form."""

from tierwise.operators.early_exit.operator import EarlyExitOptions, early_exit

__all__ = ["EarlyExitOptions", "early_exit"]
