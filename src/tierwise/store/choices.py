"""What decides which trials are measured, in the database: profile, expected costs and rounds."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
import orjson

from tierwise.measure.sample import Block, Sample
from tierwise.operators.strategy import Strategy
from tierwise.store.codec import dump, dump_block_record, dump_condition, load_block
from tierwise.store.database import has_table
from tierwise.store.results import Chosen, Round, SegmentCosts, TrialResult, TrialState
from tierwise.tiers.topology import NetworkCondition


def insert_profile_block(db: sqlite3.Connection, block: Block) -> None:
    """Add a block of the profile and its samples."""
    db.execute(
        "INSERT INTO profile_blocks VALUES (?, ?, ?)",
        (block.index, block.input_index, dump_block_record(block)),
    )
    requests: Counter[str] = Counter()
    for sample in block.samples:
        db.execute(
            "INSERT INTO profile_samples VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                sample.trial,
                sample.block,
                requests[sample.trial],
                sample.input_index,
                sample.latency_s,
                sample.started_at_s,
                dump(dict(sample.parts_s)),
                dump(dict(sample.wire_bytes)),
            ),
        )
        requests[sample.trial] += 1


def load_profile_blocks(db: sqlite3.Connection) -> tuple[Block, ...]:
    """The blocks of the profile, in order."""
    samples: dict[int, list[Sample]] = {}
    for row in db.execute("SELECT * FROM profile_samples ORDER BY started_at_s"):
        samples.setdefault(row["block"], []).append(
            Sample(
                trial=row["strategy"],
                block=row["block"],
                input_index=row["input_index"],
                latency_s=row["latency_s"],
                parts_s=orjson.loads(row["parts_s"]),
                wire_bytes=orjson.loads(row["wire_bytes"]),
                started_at_s=row["started_at_s"],
            )
        )
    rows = db.execute("SELECT * FROM profile_blocks ORDER BY block")
    return tuple(load_block(dict(row), samples.get(row["block"], [])) for row in rows)


def load_profile(
    db: sqlite3.Connection, strategies: Mapping[str, Strategy], condition: NetworkCondition
) -> tuple[TrialResult, ...]:
    """The profile's samples by strategy, as trials under the unlimited ``condition``."""
    if not has_table(db, "rounds"):
        return ()
    by_strategy: dict[str, list[Sample]] = {}
    for block in load_profile_blocks(db):
        for sample in block.samples:
            by_strategy.setdefault(sample.trial, []).append(sample)
    return tuple(
        _as_trial(strategies[name], condition, samples)
        for name, samples in by_strategy.items()
        if name in strategies
    )


def _as_trial(
    strategy: Strategy, condition: NetworkCondition, samples: Sequence[Sample]
) -> TrialResult:
    parts = dict.fromkeys(key for sample in samples for key in sample.parts_s)
    links = dict.fromkeys(link for sample in samples for link in sample.wire_bytes)
    return TrialResult(
        strategy=strategy,
        condition=condition,
        state=TrialState.MEASURED,
        latency_s=np.array([sample.latency_s for sample in samples]),
        input_index=np.array([sample.input_index for sample in samples], dtype=np.int64),
        block=np.array([sample.block for sample in samples], dtype=np.int64),
        parts_s={
            key: np.array([sample.parts_s.get(key, 0.0) for sample in samples]) for key in parts
        },
        wire_bytes={
            link: int(median(s.wire_bytes[link] for s in samples if link in s.wire_bytes))
            for link in links
        },
    )


def insert_segment_costs(db: sqlite3.Connection, costs: Mapping[str, SegmentCosts]) -> None:
    """Add or replace what is expected of strategies, by their ids."""
    db.executemany(
        "INSERT OR REPLACE INTO segment_costs VALUES (?, ?, ?)",
        [
            (name, dump(list(one.compute_shares)), dump(list(one.hop_bytes)))
            for name, one in costs.items()
        ],
    )


def load_segment_costs(db: sqlite3.Connection) -> dict[str, SegmentCosts]:
    """What is expected of strategies, by their ids."""
    if not has_table(db, "rounds"):
        return {}
    return {
        row["strategy"]: SegmentCosts(
            tuple(orjson.loads(row["compute_shares"])), tuple(orjson.loads(row["hop_bytes"]))
        )
        for row in db.execute("SELECT * FROM segment_costs")
    }


def insert_round(db: sqlite3.Connection, condition: NetworkCondition, one: Round) -> None:
    """Add a round behind those of ``condition`` that are there."""
    shapes = dump_condition(condition)
    db.execute(
        "INSERT INTO rounds SELECT number, "
        "(SELECT count(*) FROM rounds WHERE condition = number), ?, ?, ?, ? "
        "FROM conditions WHERE shapes = ?",
        (
            one.first_block,
            dump(list(one.looks)),
            one.tests,
            dump({name: reason.value for name, reason in one.chosen.items()}),
            shapes,
        ),
    )


def load_rounds(
    db: sqlite3.Connection, conditions: Mapping[int, NetworkCondition]
) -> dict[NetworkCondition, tuple[Round, ...]]:
    """The rounds of every condition that has some, in order."""
    if not has_table(db, "rounds"):
        return {}
    found: dict[NetworkCondition, list[Round]] = {}
    for row in db.execute("SELECT * FROM rounds ORDER BY condition, round"):
        chosen = {name: Chosen(why) for name, why in orjson.loads(row["chosen"]).items()}
        one = Round(row["first_block"], tuple(orjson.loads(row["looks"])), row["tests"], chosen)
        found.setdefault(conditions[row["condition"]], []).append(one)
    return {condition: tuple(rounds) for condition, rounds in found.items()}
