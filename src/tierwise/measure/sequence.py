"""Which input a block carries and in which order its trials run: a function of the seeds alone.

Nothing depends on what was measured before, so a run that was stopped goes on with the blocks that
it would have had.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# Keeps warm-up's draws apart from the blocks': both count from 0.
_WARM_UP, _MEASURED = 0, 1


def input_of_block(seed: int, block: int, n_inputs: int) -> int:
    """Input of ``block``: every input once in random order, then again in another order."""
    lap, place = divmod(block, n_inputs)
    return int(np.random.default_rng([seed, lap]).permutation(n_inputs)[place])


def order_of_block(seed: int, block: int, trials: Sequence[T], *, warm_up: bool) -> list[T]:
    """``trials`` in the random order of ``block``."""
    phase = _WARM_UP if warm_up else _MEASURED
    order = np.random.default_rng([seed, phase, block]).permutation(len(trials))
    return [trials[i] for i in order]
