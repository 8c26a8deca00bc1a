"""Trials and what became of them, in the tables that hold them."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tierwise.operators.strategy import Strategy
from tierwise.quality.figure import QualityFigure
from tierwise.store.codec import dump, dump_condition
from tierwise.store.results import TrialState
from tierwise.tiers.topology import NetworkCondition


@dataclass(frozen=True)
class PlannedTrial:
    """A strategy under a condition, as the plan hands it to the store.

    Attributes:
        strategy: What runs, where.
        condition: The network it runs under.
        state: ``PENDING``, or ``DOES_NOT_FIT`` where the plan already knows it.
        reason: Why, in words.
        predicted_s: ``(low, median, high)`` of the latency, where the plan made one.
    """

    strategy: Strategy
    condition: NetworkCondition
    state: TrialState = TrialState.PENDING
    reason: str = ""
    predicted_s: tuple[float, float, float] | None = None


def insert_trials(db: sqlite3.Connection, trials: Sequence[PlannedTrial]) -> None:
    """Add the plan's trials, in place of those of a former plan and all that was measured."""
    for table in (
        "samples", "blocks", "trials", "cold_starts", "rounds", "segment_costs",
        "profile_samples", "profile_blocks",
    ):  # fmt: skip
        db.execute(f"DELETE FROM {table}")  # noqa: S608 - names from above
    db.executemany(
        "INSERT INTO trials (strategy, operator, variant, tiers, cuts, encodings, "
        "condition, state, reason, predicted_s) VALUES (?, ?, ?, ?, ?, ?, "
        "(SELECT number FROM conditions WHERE shapes = ?), ?, ?, ?)",
        [
            (
                trial.strategy.id,
                trial.strategy.operator.value,
                trial.strategy.variant,
                dump(list(trial.strategy.tiers)),
                dump(list(trial.strategy.cuts)),
                dump([list(map(list, one)) for one in trial.strategy.encodings]),
                dump_condition(trial.condition),
                trial.state.value,
                trial.reason,
                None if trial.predicted_s is None else dump(list(trial.predicted_s)),
            )
            for trial in trials
        ],
    )


def update_predictions(
    db: sqlite3.Connection,
    predictions: Iterable[tuple[Strategy, NetworkCondition, tuple[float, float, float]]],
) -> None:
    """Set ``(low, median, high)`` of trials; those that were pending are predicted now."""
    pending, predicted = TrialState.PENDING.value, TrialState.PREDICTED.value
    db.executemany(
        "UPDATE trials SET predicted_s = ?, state = CASE state WHEN ? THEN ? ELSE state "
        "END WHERE strategy = ? AND "
        "condition = (SELECT number FROM conditions WHERE shapes = ?)",
        [
            (dump(list(figures)), pending, predicted, strategy.id, dump_condition(where))
            for strategy, where, figures in predictions
        ],
    )


def quality_columns(figure: QualityFigure) -> tuple[object, ...]:
    """The columns of ``quality`` and ``strategy_quality`` behind the first."""
    return (
        figure.metric,
        figure.value,
        figure.loss,
        figure.n,
        int(figure.from_labels),
        np.asarray(figure.per_input, dtype="<f8").tobytes(),
        dump(dict(figure.more)),
    )
