"""Writes results into a study's directory, as a run would have left them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tierwise.measure.machine import MachineState
from tierwise.measure.sample import Block, Sample
from tierwise.store.results import StudyResults, TrialResult, TrialState
from tierwise.store.trials import PlannedTrial
from tierwise.store.write import StudyStore
from tierwise.tiers.topology import NetworkCondition


def store_results(results: StudyResults, folder: Path) -> Path:
    """Make ``folder`` a study that holds ``results``; returns it. For tests."""
    with StudyStore.open(folder) as store:
        store.set_study(
            name=results.name,
            model=results.model,
            task=results.task,
            topology=results.topology,
            conditions=results.conditions,
            requirement=results.requirement,
            facts={},
        )
        store.set_environment(results.environment)
        for record in results.variants.values():
            store.add_variant(record)
        for variant, figure in results.quality.items():
            if variant in results.variants:
                store.add_quality(variant, figure)
        for strategy in dict.fromkeys(t.strategy for t in results.trials if t.strategy.lossy):
            own = results.quality_of(strategy)
            if own is not None:
                store.add_strategy_quality(strategy, own)
        store.set_trials(
            [
                PlannedTrial(t.strategy, t.condition, t.state, t.reason, t.predicted_s)
                for t in results.trials
            ],
            results.warnings,
        )
        _store_measurements(results, store)
    return folder


def _store_measurements(results: StudyResults, store: StudyStore) -> None:
    for condition in results.conditions:
        for block in _blocks(results, condition):
            store.add_block(condition, block)
    # The same under every condition; and every write waits for the disk.
    for trial in {t.strategy: t for t in results.trials}.values():
        store.set_memory(trial.strategy, trial.memory_bytes)
        if trial.cold_start is not None:
            store.set_cold_start(trial.strategy, trial.cold_start)
    store.add_probes(results.probes)
    for block in _blocks_of(results.profile):
        store.add_profile_block(block)
    store.set_segment_costs(results.segment_costs)
    for condition, rounds in results.rounds.items():
        for one in rounds:
            store.add_round(condition, one)


def _blocks(results: StudyResults, condition: NetworkCondition) -> list[Block]:
    return _blocks_of([
        t
        for t in results.trials
        if t.condition == condition and t.state is TrialState.MEASURED and len(t.block)
    ])  # fmt: skip


def _blocks_of(trials: Sequence[TrialResult]) -> list[Block]:
    numbers = np.unique(np.concatenate([t.block for t in trials])) if trials else np.empty(0)
    blocks = []
    for number in numbers.tolist():
        samples = [
            Sample(
                trial=t.strategy.id,
                block=int(number),
                input_index=int(t.input_index[at]),
                latency_s=float(t.latency_s[at]),
                parts_s={part: float(seconds[at]) for part, seconds in t.parts_s.items()},
                wire_bytes=dict(t.wire_bytes),
                energy_j=float(t.energy_j[at]) if t.energy_j.size else None,
                started_at_s=float(number) + place / 1000,
            )
            for place, t in enumerate(trials)
            for at in np.flatnonzero(t.block == number).tolist()
        ]
        blocks.append(
            Block(
                index=int(number),
                input_index=samples[0].input_index,
                order=tuple(sample.trial for sample in samples),
                samples=tuple(samples),
                failures=(),
                started_at_s=float(number),
                duration_s=1.0,
                machine=MachineState(steal=0.0),
            )
        )
    return blocks
