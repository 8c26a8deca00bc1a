"""How far predictions are off: bounds of future errors from those that were seen."""

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int

from tierwise.operators.strategy import Strategy
from tierwise.predict.latency import COVERAGE
from tierwise.predict.repeats import Repeats
from tierwise.predict.trials import MeasuredTrials

# heuristic: where a study says nothing yet of how far a prediction is off (one strategy, one
# condition), as standard deviations: of what the network adds, of a strategy that is put together
# from others, of a median measured again, and of the machine from one condition to another.
NETWORK, PUT_TOGETHER, AGAIN, DRIFT = 0.05, 0.08, 0.04, 0.01
# heuristic: and of what the network adds to one strategy, from one condition to another.
NETWORK_AGAIN = 0.02
# heuristic: how many errors that guess counts as.
_GUESS_WEIGHT = 3.0


def bound(errors: Float[np.ndarray, " e"], guess: float) -> float:
    """What :data:`COVERAGE` of the sizes of future errors stay under, were they normal."""
    return _bound(float(errors @ errors), len(errors), guess)


def bound_by_group(
    errors: Float[np.ndarray, " e"], group: Int[np.ndarray, " e"], guess: float
) -> float:
    """The same where errors of one group go together: a group counts as one error."""
    counts = np.bincount(group)
    squares = np.bincount(group, errors**2)[counts > 0] / counts[counts > 0]
    return _bound(float(squares.sum()), len(squares), guess)


def within(
    errors: Float[np.ndarray, " e"], group: Int[np.ndarray, " e"]
) -> Float[np.ndarray, " e"]:
    """Errors less the mean of their group, scaled so that their squares have its variance as mean.

    Those that are alone in their group say nothing and are 0.
    """
    counts = np.bincount(group)[group]
    means = (np.bincount(group, errors) / np.maximum(np.bincount(group), 1))[group]
    found: np.ndarray = (errors - means) * np.sqrt(counts / np.maximum(counts - 1, 1))
    return found


def drift_bound(drift: Float[np.ndarray, " c"]) -> float:
    """How far the machine may be from its average under one more condition.

    The average is of the conditions that were measured, so it is off as well: the variance of a
    further one around it is ``1 + 1 / conditions`` times that of one.
    """
    size = len(drift)
    centred = drift - drift.mean()
    # The mean of them takes one of the errors.
    seen = _bound(float(centred @ centred), size - 1, DRIFT)
    return seen * float(np.sqrt(1 + 1 / size))


def known_drift_bounds(
    repeats: Repeats, at: Int[np.ndarray, " n"], conditions: int
) -> Float[np.ndarray, " c"]:
    """How far the drift under each measured condition is off: a mean over its trials."""
    again = bound(repeats.errors, AGAIN)
    found: np.ndarray = again / np.sqrt(np.bincount(at, minlength=conditions))
    return found


def own_bounds(
    measured: MeasuredTrials,
    seen: Bool[np.ndarray, " s"],
    own_s: Float[np.ndarray, " s"],
    repeats: Repeats,
    left_out: Float[np.ndarray, " e"],
) -> Float[np.ndarray, " s"]:
    """Relative error of every strategy's own part.

    Of one that was measured: the error of measuring it again, by the slowest to settle of its
    tiers (what a small share of a core does to a latency differs from what a whole one does), and
    half the interval of its median. Of one that is put together: by all that was left out.

    Args:
        measured: The trials.
        seen: Which strategies have some.
        own_s: What is each strategy's own where it was measured.
        repeats: Errors of measuring again.
        left_out: Errors of putting together.
    """
    strategies = measured.strategies
    by_tier = _by_tier(strategies, repeats)
    found = np.full(len(strategies), bound(left_out, PUT_TOGETHER))
    for index in np.flatnonzero(seen).tolist():
        found[index] = max(by_tier[tier] for tier in strategies[index].tiers)
    halves_s = np.full(len(strategies), np.inf)
    np.minimum.at(halves_s, measured.of, measured.half_widths_s)
    sampling = np.where(np.isfinite(halves_s), halves_s / own_s, 0.0)
    both: np.ndarray = np.hypot(found, sampling)
    return both


def _by_tier(strategies: Sequence[Strategy], repeats: Repeats) -> dict[str, float]:
    overall = _spread(float(repeats.errors @ repeats.errors), len(repeats.errors), AGAIN)
    errors: dict[str, list[float]] = {tier: [] for s in strategies for tier in s.tiers}
    for error, index in zip(repeats.errors.tolist(), repeats.of.tolist(), strict=True):
        for tier in set(strategies[index].tiers):
            errors[tier].append(error)
    return {tier: bound(np.array(of), overall) for tier, of in errors.items()}


def _spread(sum_of_squares: float, count: int, guess: float) -> float:
    """Standard deviation around 0, drawn to a guess as far as there are few errors."""
    return float(np.sqrt((sum_of_squares + _GUESS_WEIGHT * guess**2) / (count + _GUESS_WEIGHT)))


def _bound(sum_of_squares: float, count: int, guess: float) -> float:
    return student_quantile(count + _GUESS_WEIGHT) * _spread(sum_of_squares, count, guess)


@lru_cache(maxsize=4096)
def student_quantile(freedom: float) -> float:
    """What the size of a Student's t stays under with probability :data:`COVERAGE`.

    Within 0.13% from 3 degrees of freedom on. Not ``scipy.special.stdtrit``: importing that package
    takes a third of the time of a whole prediction from disk.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    x = NormalDist().inv_cdf((1 + COVERAGE) / 2)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + sum(term / freedom**power for power, term in enumerate(terms, 1))
