"""What tiers gave real requests, by a study's own samples: its probe computes outside of agents."""

import numpy as np
from jaxtyping import Float

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.errors import TooFewSamples
from tierwise.operators.strategy import Strategy
from tierwise.stats.median_interval import Interval, median_interval
from tierwise.store.results import ProbeFigure, StudyResults
from tierwise.tiers.topology import Tier

QUANTITY = "compute of requests"
# What a probe allows a share to be off (`benchmarks/emulation.py`).
_OFF = 0.10
# Of each of the two medians, so that their ratio's is at least 95% (Bonferroni).
_CONFIDENCE = 0.975


def request_shares(results: StudyResults) -> tuple[list[ProbeFigure], list[ResultWarning]]:
    """Whole variants' compute on every emulated tier against the same on the fastest of them.

    A figure is the median that the fastest tier computes over the median that this one does, of
    the requests of all networks (the profile's too) under which both were measured. What is asked
    is the ratio of their shares. That the fastest tier has its own share is not shown by it.

    Only tiers of one thread: two threads on one core wait for each other, so that half the cores
    are not half the speed.

    Returns:
        The figures, and a warning for each that is more than 10% off even at the nearer end of its
        95% interval. Nothing where there are fewer than 7 requests.
    """
    speeds = {tier.name: _speed(tier) for tier in results.topology.tiers if _comparable(tier)}
    if len(speeds) < 2:
        return [], []
    fastest = max(speeds, key=lambda name: speeds[name])
    wholes = {
        (trial.strategy.tiers[0], trial.strategy.variant): trial.strategy
        for trial in (*results.profile, *results.trials)
        if not trial.strategy.cuts and trial.strategy.tiers[0] in speeds
    }
    figures, warnings = [], []
    for (tier, variant), strategy in wholes.items():
        reference = wholes.get((fastest, variant))
        if reference is None or tier == fastest:
            continue
        asked = speeds[tier] / speeds[fastest]
        own_s, others_s = _compute_s(results, strategy, reference)
        try:
            ratio = _ratio_of_medians(others_s, own_s)
        except TooFewSamples:
            continue
        how = (
            f"{len(own_s)} requests on {tier}, {len(others_s)} on {fastest}; "
            f"95%: {ratio.low:.3g} to {ratio.high:.3g}"
        )
        figures.append(ProbeFigure(strategy.id, QUANTITY, asked, ratio.estimate, how))
        if ratio.low > asked * (1 + _OFF) or ratio.high < asked * (1 - _OFF):
            warnings.append(_warning(figures[-1], fastest))
    return figures, warnings


def _comparable(tier: Tier) -> bool:
    return tier.emulated and tier.threads == 1


def _speed(tier: Tier) -> float:
    """Of one thread, relative to a whole core."""
    return 1.0 if tier.cpus is None else min(tier.cpus, 1.0)


def _compute_s(
    results: StudyResults, strategy: Strategy, reference: Strategy
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " n"]]:
    """Seconds that each computes in a request, where both were measured."""
    trials = {
        (trial.strategy, trial.condition.id, place): trial
        for place, of in enumerate((results.profile, results.trials))
        for trial in of
        if len(trial.latency_s)
    }
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for (of, condition, place), own in trials.items():
        other = trials.get((reference, condition, place))
        if of != strategy or other is None:
            continue
        for into, trial in zip(found, (own, other), strict=True):
            into.append(trial.parts_s.get(f"compute@{trial.strategy.tiers[0]}", np.array([])))
    return np.concatenate([*found[0], []]), np.concatenate([*found[1], []])


def _ratio_of_medians(above: Float[np.ndarray, " m"], below: Float[np.ndarray, " n"]) -> Interval:
    """Of two samples, with the interval that their medians' intervals leave."""
    top, bottom = median_interval(above, _CONFIDENCE), median_interval(below, _CONFIDENCE)
    return Interval(
        low=top.low / bottom.high,
        estimate=top.estimate / bottom.estimate,
        high=top.high / bottom.low,
        confidence=top.confidence + bottom.confidence - 1.0,
    )


def _warning(figure: ProbeFigure, fastest: str) -> ResultWarning:
    return ResultWarning(
        WarningKind.SHARE_OFF,
        figure.subject,
        f"{figure.achieved:.3g} of the speed of {fastest} where {figure.asked:.3g} was asked "
        f"({figure.backend}).",
        "Close other programs and measure again with `--fresh`. Models of one or two milliseconds "
        "are over before a share can hold them back: do not trust theirs.",
    )
