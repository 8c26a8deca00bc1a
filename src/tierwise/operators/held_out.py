"""The honest half: what an operator chooses by is not what it was fitted to."""

import numpy as np

from tierwise.data.source import Dataset
from tierwise.errors import UserError

# heuristic: ranges settle after some dozens of inputs; the rest is worth more for judging.
_MOST_FIT_INPUTS = 64


def hold_out(calibration: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Inputs to fit to and inputs to judge by; the same one where there is only one.

    A third fits (64 inputs at most), drawn by ``seed``; both keep the order of ``calibration``.
    """
    count = len(calibration)
    if count < 2:
        return calibration, calibration
    order = np.random.default_rng(seed).permutation(count)
    fit = max(1, min(_MOST_FIT_INPUTS, count // 3))
    return calibration.subset(np.sort(order[:fit])), calibration.subset(np.sort(order[fit:]))


def check_max_loss(max_loss: float) -> None:
    """Raise :class:`UserError` for a quality budget that nothing can meet."""
    if not 0 <= max_loss <= 100:
        raise UserError(
            f"A loss of {max_loss:g} points cannot be asked for; 0 to 100 can.",
            hint="Set `max_loss` (--max-loss), such as 1.0.",
            value=max_loss,
        )
