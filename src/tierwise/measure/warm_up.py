"""Warm-up: requests that are sent, counted and thrown away until every trial has settled."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from tierwise.measure.plan import MeasurePlan
from tierwise.measure.sequence import input_of_block, order_of_block
from tierwise.measure.visit import Visit
from tierwise.progress import Task

# heuristic: the usual 5%; a slope that it misses is of the size of the noise.
_SIGNIFICANT = 0.05
# heuristic: where sessions, caches and connections are warm, a changed network needs one request to
# be noticed, and one that fails on a connection that was closed meanwhile another.
_VISITS_OF_WARM = 2


@dataclass(frozen=True)
class WarmUp:
    """What was sent and thrown away before the first block.

    Attributes:
        blocks: Passes over the trials that had not settled yet.
        requests: Requests that were answered and discarded.
        unsettled: Ids of the trials whose slope was not flat at the end.
        duration_s: How long it took.
    """

    blocks: int = 0
    requests: int = 0
    unsettled: tuple[str, ...] = ()
    duration_s: float = 0.0


def has_settled(block_medians_s: Sequence[float], window: int, tolerance: float) -> bool:
    """Whether the last ``window`` medians are flat.

    Flat: over the window the Theil-Sen line changes by less than ``tolerance`` of the median, or
    Kendall's tau cannot tell the slope from noise at 5%.

    Source: P. K. Sen, JASA 63(324), 1968 (the slope); M. G. Kendall, Biometrika 30, 1938 (tau).
    """
    if len(block_medians_s) < window:
        return False
    last = np.asarray(block_medians_s[-window:])
    if len(last) < 2 or last.min() == last.max():
        return True
    moments = np.arange(len(last), dtype=float)
    change = abs(scipy.stats.theilslopes(last, moments).slope) * (len(last) - 1)
    if change < tolerance * np.median(last):
        return True
    return bool(scipy.stats.kendalltau(moments, last).pvalue > _SIGNIFICANT)


def warm_up(
    trials: Sequence[str],
    visit: Callable[[str, int, int], Visit],
    plan: MeasurePlan,
    *,
    n_inputs: int,
    now_s: Callable[[], float],
    most_s: float,
    warm: Collection[str] = (),
    task: Task | None = None,
) -> WarmUp:
    """Visit the trials that have not settled, pass after pass, within the plan's bounds.

    Args:
        trials: Ids.
        visit: Visits a trial, given its id, a block number (negative here) and an input.
        plan: The bounds, the tolerance and the seeds.
        n_inputs: How many inputs there are.
        now_s: Seconds of a clock.
        most_s: Ends after the pass in which this much time is spent.
        warm: Ids of trials that were measured a moment ago; they are visited twice.
        task: Told of every pass.
    """
    started_s = now_s()
    medians_s: dict[str, list[float]] = {name: [] for name in trials}
    waiting = list(trials)
    blocks = requests = 0
    while waiting and blocks < plan.max_warmup_blocks and now_s() - started_s < most_s:
        input_index = input_of_block(plan.seed_inputs, blocks, n_inputs)
        for name in order_of_block(plan.seed_order, blocks, waiting, warm_up=True):
            samples = visit(name, -1 - blocks, input_index).samples
            requests += len(samples)
            if samples:
                medians_s[name].append(float(np.median([s.latency_s for s in samples])))
        blocks += 1
        waiting = [
            name
            for name in waiting
            if (
                blocks < _VISITS_OF_WARM
                if name in warm
                else not has_settled(medians_s[name], plan.min_warmup_blocks, plan.warmup_tolerance)
            )
        ]
        if task is not None:
            task.advance(note=f"{len(waiting)} of {len(trials)} trials not settled")
    return WarmUp(blocks, requests, tuple(waiting), now_s() - started_s)
