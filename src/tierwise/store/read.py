"""A study's directory as readers see it."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import orjson

from tierwise import __version__
from tierwise.errors import NotAStudyError
from tierwise.measure.cold_start import ColdStart
from tierwise.operators.strategy import Strategy
from tierwise.store.blocks import load_measured
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
    topology = load_topology(facts["topology"])
    conditions = {
        row["number"]: load_condition(row["shapes"], topology)
        for row in db.execute("SELECT number, shapes FROM conditions ORDER BY number")
    }
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
        warnings=tuple(_warning(row, folder) for row in db.execute("SELECT * FROM warnings")),
        environment={
            row["label"]: row["value"] for row in db.execute("SELECT label, value FROM environment")
        },
        profile=load_profile(db, strategies, unlimited(topology)),
        segment_costs=load_segment_costs(db),
        rounds=load_rounds(db, conditions),
        measured=load_measured(db, facts, conditions),
    )


def _warning(row: sqlite3.Row, folder: Path) -> ResultWarning:
    try:
        kind = WarningKind(row["kind"])
    except ValueError as error:
        raise NotAStudyError(
            f"The study in {folder} has a warning that this Tierwise ({__version__}) does not "
            f"know: {row['kind']!r}.",
            hint="Update Tierwise: `pip install -U tierwise`.",
            path=str(folder),
        ) from error
    return ResultWarning(kind, row["subject"], row["evidence"], row["advice"])


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
    samples = _samples(db)
    starts = _cold_starts(db)
    strategies: dict[str, Strategy] = {}
    states = {state.value: state for state in TrialState}
    found = []
    # By place and not by name: a study has tens of thousands of trials, most of them predicted.
    for id_, name, number, state, reason, memory, predicted in db.execute(
        "SELECT id, strategy, condition, state, reason, memory_bytes, predicted_s"
        " FROM trials ORDER BY id"
    ):
        if name not in strategies:
            row = db.execute("SELECT * FROM trials WHERE id = ?", (id_,)).fetchone()
            strategies[name] = load_strategy(dict(row))
        trial = TrialResult(
            strategies[name],
            conditions[number],
            states[state],
            reason,
            memory_bytes={} if memory == "{}" else orjson.loads(memory),
            predicted_s=None if predicted is None else tuple(orjson.loads(predicted)),
            cold_start=starts.get(name),
        )
        found.append(_measured(trial, samples[id_]) if id_ in samples else trial)
    return tuple(found)


# Input, block, latency, parts, bytes, joules.
_Sample = tuple[int, int, float, str, str, float | None]


def _samples(db: sqlite3.Connection) -> dict[int, list[_Sample]]:
    """By trial, in the order in which they were measured."""
    columns = {row["name"] for row in db.execute("PRAGMA table_info(samples)")}
    # Older formats had no energy.
    energy = "energy_j" if "energy_j" in columns else "NULL"
    found: dict[int, list[_Sample]] = {}
    for trial, *sample in db.execute(
        f"SELECT trial, input_index, block, latency_s, parts_s, wire_bytes, {energy}"  # noqa: S608
        " FROM samples ORDER BY trial, block, request"
    ):
        found.setdefault(trial, []).append(tuple(sample))
    return found


def _cold_starts(db: sqlite3.Connection) -> dict[str, ColdStart]:
    if not has_table(db, "cold_starts"):
        return {}
    rows = db.execute("SELECT strategy, record FROM cold_starts")
    return {row["strategy"]: load_cold_start(row["record"]) for row in rows}


def _measured(trial: TrialResult, samples: list[_Sample]) -> TrialResult:
    """``trial`` with what was measured of it."""
    inputs, blocks, latencies, parts_texts, bytes_texts, joules = zip(*samples, strict=True)
    parts = [orjson.loads(text) for text in parts_texts]
    keys = dict.fromkeys(key for one in parts for key in one)
    # Nearly always the same bytes: read once.
    counted = {text: orjson.loads(text) for text in set(bytes_texts)}
    return replace(
        trial,
        latency_s=np.array(latencies, dtype=np.float64),
        input_index=np.array(inputs, dtype=np.int64),
        block=np.array(blocks, dtype=np.int64),
        parts_s={
            key: np.array([one.get(key, 0.0) for one in parts], dtype=np.float64) for key in keys
        },
        wire_bytes=_medians([counted[text] for text in bytes_texts]),
        energy_j=np.empty(0) if None in joules else np.array(joules, dtype=np.float64),
    )


def _medians(per_sample: list[dict[str, int]]) -> dict[str, int]:
    links = dict.fromkeys(link for one in per_sample for link in one)
    return {link: int(median(one[link] for one in per_sample if link in one)) for link in links}
