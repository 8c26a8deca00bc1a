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
# heuristic: how far what the network is said to add may be off, and a trial's own part from one
# time to the next. Behind 5 s of transfer, 2% hide whatever a tier computes.
_NETWORK_OFF, _AGAIN = 0.02, 0.04


@dataclass(frozen=True)
class Repeats:
    """log(own part of a trial) = log(own part of its strategy) + drift of its condition + error.

    Attributes:
        own_s: By strategy; NaN where it has no trial.
        drift: By condition, as a logarithm: how much slower the machine was there, for all.
        errors: Of every trial of a strategy that has several, as a logarithm: how far it is off
            from what its other trials and the other strategies' drift say. Trials whose network
            hides what is their own say nothing of it, and are not among them.
        of: The strategy of each of ``errors``.
        weight: What every trial counts in its strategy's ``own_s``.
    """

    own_s: Float[np.ndarray, " s"]
    drift: Float[np.ndarray, " c"]
    errors: Float[np.ndarray, " e"]
    of: Int[np.ndarray, " e"]
    weight: Float[np.ndarray, " n"]


def fit_repeats(  # noqa: PLR0917 - one row a trial, all of them
    own_s: Float[np.ndarray, " n"],
    added_s: Float[np.ndarray, " n"],
    at_tiers_s: Float[np.ndarray, " n"],
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
        added_s: What the network is said to add to it.
        at_tiers_s: What its requests' own breakdown says that it spent elsewhere.
        samples: How many requests each has.
        strategy: Which strategy each is of, from 0.
        condition: Under which condition each is, from 0.
        strategies: How many strategies there are.
    """
    likely_s = np.maximum(np.maximum(own_s, at_tiers_s / 2), 1e-6)
    logs = np.log(likely_s)
    hidden = (_NETWORK_OFF * added_s) / (_AGAIN * likely_s)
    told = 1 / (1 + hidden**2)
    weight = told * np.minimum(samples, _FULL_WEIGHT) / _FULL_WEIGHT
    conditions = int(condition.max()) + 1
    drift = np.zeros(conditions)
    of_strategy = np.bincount(strategy, weight, strategies)
    of_condition = np.bincount(condition, weight, conditions) + _NO_DRIFT
    level = np.zeros(strategies)
    for _ in range(_SWEEPS if conditions > 1 else 1):
        summed = np.bincount(strategy, weight * (logs - drift[condition]), strategies)
        level = summed / np.maximum(of_strategy, 1e-12)
        drift = np.bincount(condition, weight * (logs - level[strategy]), conditions) / of_condition
        drift = drift - np.average(drift, weights=of_condition)
    says = told >= 0.5  # the network hides no more than the trial itself is off
    several = says & (np.bincount(strategy[says], minlength=strategies)[strategy] > 1)
    off = logs - level[strategy] - drift[condition]
    # Each trial against its strategy's others, and its condition's drift without it.
    rest = np.maximum(of_strategy[strategy] - weight, 1e-12)
    others = -weight * off / rest
    left = weight * (logs - level[strategy] - drift[condition]) / of_condition[condition]
    errors = off - others + left
    return Repeats(
        np.where(of_strategy > 0, np.exp(level), np.nan),
        drift,
        errors[several],
        strategy[several],
        weight,
    )
