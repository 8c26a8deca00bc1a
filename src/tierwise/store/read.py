"""A study's directory as readers see it."""

import sqlite3
from pathlib import Path

import numpy as np
import orjson

from tierwise.errors import NotAStudyError
from tierwise.measure.cold_start import ColdStart
from tierwise.operators.strategy import Strategy
from tierwise.store.choices import load_profile, load_rounds, load_segment_costs
from tierwise.store.codec import load_cold_start, load_condition, load_strategy, load_topology
from tierwise.store.database import has_table, open_to_read
from tierwise.store.results import (
    ProbeFigure,
    QualityFigure,
    ResultWarning,
    StudyResults,
    TrialResult,
    TrialState,
    VariantRecord,
    WarningKind,
    unlimited,
)
from tierwise.tiers.topology import NetworkCondition


def read_results(folder: Path) -> StudyResults:
    """Everything that the study in ``folder`` knows, also while it is still running.

    Raises:
        NotAStudyError: ``folder`` holds no study, or none that got as far as a plan.
    """
    connection = open_to_read(folder)
    try:
        # One read transaction: a run that commits meanwhile must not tear the picture.
        connection.execute("BEGIN")
        return results_of(connection, folder)
    finally:
        connection.close()


def results_of(db: sqlite3.Connection, folder: Path) -> StudyResults:
    """The results behind an open connection; ``folder`` is for messages."""
    facts = {row["key"]: row["value"] for row in db.execute("SELECT key, value FROM facts")}
    if "topology" not in facts:
        raise NotAStudyError(
            f"The study in {folder} stopped before its plan was made.",
            hint="Run the same `tierwise run` command again.",
            path=str(folder),
        )
    conditions = {
        row["number"]: load_condition(row["shapes"])
        for row in db.execute("SELECT number, shapes FROM conditions ORDER BY number")
    }
    topology = load_topology(facts["topology"])
    trials = _trials(db, conditions)
    strategies = {trial.strategy.id: trial.strategy for trial in trials}
    return StudyResults(
        name=facts["name"],
        model=facts["model"],
        task=facts["task"],
        topology=topology,
        conditions=tuple(conditions.values()),
        requirement=orjson.loads(facts["requirement"]),
        variants={row["name"]: _variant(row) for row in db.execute("SELECT * FROM variants")},
        quality=_qualities(db),
        trials=trials,
        probes=tuple(
            ProbeFigure(*row)
            for row in db.execute("SELECT subject, quantity, asked, achieved, backend FROM probes")
        ),
        warnings=tuple(
            ResultWarning(WarningKind(row["kind"]), row["subject"], row["evidence"], row["advice"])
            for row in db.execute("SELECT * FROM warnings")
        ),
        environment={
            row["label"]: row["value"] for row in db.execute("SELECT label, value FROM environment")
        },
        profile=load_profile(db, strategies, unlimited(topology)),
        segment_costs=load_segment_costs(db),
        rounds=load_rounds(db, conditions),
    )


def _variant(row: sqlite3.Row) -> VariantRecord:
    return VariantRecord(
        name=row["name"],
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        macs=row["macs"],
        notes=tuple(orjson.loads(row["notes"])),
    )


def _qualities(db: sqlite3.Connection) -> dict[str, QualityFigure]:
    """By variant name, and by strategy id where a boundary changes values."""
    found = {row["variant"]: _quality(row) for row in db.execute("SELECT * FROM quality")}
    if has_table(db, "strategy_quality"):
        rows = db.execute("SELECT * FROM strategy_quality")
        found |= {row["strategy"]: _quality(row) for row in rows}
    return found


def _quality(row: sqlite3.Row) -> QualityFigure:
    return QualityFigure(
        metric=row["metric"],
        value=row["value"],
        loss=row["loss"],
        n=row["n"],
        from_labels=bool(row["from_labels"]),
        per_input=np.frombuffer(row["per_input"], dtype="<f8"),
        more=orjson.loads(row["more"]),
    )


def _trials(
    db: sqlite3.Connection, conditions: dict[int, NetworkCondition]
) -> tuple[TrialResult, ...]:
    samples: dict[int, list[sqlite3.Row]] = {}
    for row in db.execute("SELECT * FROM samples ORDER BY trial, block, request"):
        samples.setdefault(row["trial"], []).append(row)
    starts = _cold_starts(db)
    strategies: dict[str, Strategy] = {}
    rows = db.execute("SELECT * FROM trials ORDER BY id").fetchall()
    for row in rows:
        # A strategy stands in as many rows as there are conditions.
        if row["strategy"] not in strategies:
            strategies[row["strategy"]] = load_strategy(dict(row))
    return tuple(
        _trial(
            row,
            strategies[row["strategy"]],
            conditions[row["condition"]],
            samples.get(row["id"], []),
            starts.get(row["strategy"]),
        )
        for row in rows
    )


def _cold_starts(db: sqlite3.Connection) -> dict[str, ColdStart]:
    if not has_table(db, "cold_starts"):
        return {}
    rows = db.execute("SELECT strategy, record FROM cold_starts")
    return {row["strategy"]: load_cold_start(row["record"]) for row in rows}


def _trial(
    row: sqlite3.Row,
    strategy: Strategy,
    condition: NetworkCondition,
    samples: list[sqlite3.Row],
    cold_start: ColdStart | None,
) -> TrialResult:
    memory_bytes = orjson.loads(row["memory_bytes"])
    predicted_s = None if row["predicted_s"] is None else tuple(orjson.loads(row["predicted_s"]))
    if not samples:
        return TrialResult(
            strategy,
            condition,
            TrialState(row["state"]),
            row["reason"],
            memory_bytes=memory_bytes,
            predicted_s=predicted_s,
            cold_start=cold_start,
        )
    parts = [orjson.loads(sample["parts_s"]) for sample in samples]
    keys = dict.fromkeys(key for one in parts for key in one)
    return TrialResult(
        strategy=strategy,
        condition=condition,
        state=TrialState(row["state"]),
        reason=row["reason"],
        latency_s=np.array([sample["latency_s"] for sample in samples], dtype=np.float64),
        input_index=np.array([sample["input_index"] for sample in samples], dtype=np.int64),
        block=np.array([sample["block"] for sample in samples], dtype=np.int64),
        parts_s={
            key: np.array([one.get(key, 0.0) for one in parts], dtype=np.float64) for key in keys
        },
        wire_bytes=_medians([orjson.loads(sample["wire_bytes"]) for sample in samples]),
        memory_bytes=memory_bytes,
        predicted_s=predicted_s,
        cold_start=cold_start,
        energy_j=_energies(samples),
    )


def _energies(samples: list[sqlite3.Row]) -> np.ndarray:
    """Joules of every sample; empty where the machine told none of one, as in older formats."""
    if not samples or "energy_j" not in samples[0].keys():  # noqa: SIM118 - a Row is no mapping
        return np.empty(0)
    found = [sample["energy_j"] for sample in samples]
    return np.empty(0) if None in found else np.array(found, dtype=np.float64)


def _medians(per_sample: list[dict[str, int]]) -> dict[str, int]:
    links = dict.fromkeys(link for one in per_sample for link in one)
    return {
        link: int(np.median([one[link] for one in per_sample if link in one])) for link in links
    }
