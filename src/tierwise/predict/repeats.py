"""What is a strategy's own, from trials under several conditions on a machine that drifts."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# A condition's drift is drawn to none as one more strategy without drift would draw it.
_NO_DRIFT = 1.0
# Alternating least squares of a two-way table: far more than it takes to settle.
_SWEEPS = 30
# heuristic: samples from which on more of them make a trial's median no truer; the rest of its
# error is what changes from one trial to the next.
_FULL_WEIGHT = 30


@dataclass(frozen=True)
class Repeats:
    """log(own part of a trial) = log(own part of its strategy) + drift of its condition + error.

    Attributes:
        own_s: By strategy; NaN where it has no trial.
        drift: By condition, as a logarithm: how much slower the machine was there, for all.
        errors: Of every trial of a strategy that has several, as a logarithm: how far it is off
            from what its other trials and the other strategies' drift say.
        of: The strategy of each of ``errors``.
    """

    own_s: Float[np.ndarray, " s"]
    drift: Float[np.ndarray, " c"]
    errors: Float[np.ndarray, " e"]
    of: Int[np.ndarray, " e"]


def fit_repeats(
    own_s: Float[np.ndarray, " n"],
    samples: Int[np.ndarray, " n"],
    strategy: Int[np.ndarray, " n"],
    condition: Int[np.ndarray, " n"],
    strategies: int,
) -> Repeats:
    """Fit the two-way table.

    A machine that is slower in one hour than in another is so for all strategies alike: that says
    nothing of which is faster, and must not widen what is known of each.

    Args:
        own_s: Of every trial, seconds without the network.
        samples: How many requests each has.
        strategy: Which strategy each is of, from 0.
        condition: Under which condition each is, from 0.
        strategies: How many strategies there are.
    """
    logs = np.log(np.maximum(own_s, 1e-6))
    weight = np.minimum(samples, _FULL_WEIGHT) / _FULL_WEIGHT
    conditions = int(condition.max()) + 1
    drift = np.zeros(conditions)
    of_strategy = np.bincount(strategy, weight, strategies)
    of_condition = np.bincount(condition, weight, conditions) + _NO_DRIFT
    level = np.zeros(strategies)
    for _ in range(_SWEEPS if conditions > 1 else 1):
        summed = np.bincount(strategy, weight * (logs - drift[condition]), strategies)
        level = summed / np.maximum(of_strategy, 1e-9)
        drift = np.bincount(condition, weight * (logs - level[strategy]), conditions) / of_condition
        drift = drift - np.average(drift, weights=of_condition)
    several = np.bincount(strategy, minlength=strategies)[strategy] > 1
    off = logs - level[strategy] - drift[condition]
    # Each trial against its strategy's others, and its condition's drift without it.
    rest = np.maximum(of_strategy[strategy] - weight, 1e-9)
    others = -weight * off / rest
    left = weight * (logs - level[strategy] - drift[condition]) / of_condition[condition]
    errors = off - others + left
    return Repeats(
        np.where(of_strategy > 0, np.exp(level), np.nan),
        drift,
        errors[several],
        strategy[several],
    )
