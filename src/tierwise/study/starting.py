"""How long every strategy takes to start, measured before any block and stored once."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from tierwise.data.source import Dataset
from tierwise.errors import TierFault
from tierwise.measure.cold_start import ColdStart, measure_cold_start
from tierwise.measure.sample import Timing
from tierwise.operators.strategy import Strategy
from tierwise.progress import SILENT, Progress
from tierwise.store.write import StudyStore
from tierwise.study.deployment import Deployment

# heuristic: three starts give a median that one slow start does not move.
_REPEATS = 3
# heuristic: a strategy that takes longer is started less often, so that a study of hundreds does
# not spend its time on starts.
_MOST_S = 1.5


def measure_starts(
    deployment: Deployment,
    strategies: Sequence[Strategy],
    data: Dataset,
    store: StudyStore,
    progress: Progress = SILENT,
) -> None:
    """Start each of ``strategies`` that is loaded and not in ``store`` yet, and store how long.

    Links are unlimited meanwhile: the figure is the tiers', the same under every condition.
    A strategy whose tier fails has none, and is left loaded like the others.
    """
    known = store.cold_started()
    left = [strategy for strategy in strategies if strategy.id not in known]
    if not left:
        return
    deployment.running.shape(None)
    with progress.task("Starting cold", len(left)) as task:
        for strategy in left:
            cold = _start(deployment, strategy, data)
            if cold is not None:
                store.set_cold_start(strategy, cold)
            task.advance(note=strategy.id)


def _start(deployment: Deployment, strategy: Strategy, data: Dataset) -> ColdStart | None:
    def send(index: int) -> Timing:
        return deployment.send(strategy, data.payload(index))

    try:
        return measure_cold_start(
            partial(deployment.unload, strategy),
            deployment.loads(strategy),
            send,
            repeats=_REPEATS,
            most_s=_MOST_S,
        )
    except TierFault:
        # What still fails is tried again in the blocks, which record it and give up in the end.
        with suppress(TierFault):
            deployment.revive()
            deployment.load_again(strategy)
        return None
