"""Blocks with their samples, and how a condition was measured."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict

import orjson

from tierwise.measure.machine import MachineState, disturbances
from tierwise.measure.outcome import MeasureOutcome
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.sample import Block, Sample
from tierwise.store.codec import (
    dump,
    dump_block_record,
    dump_condition,
    load_block,
    load_sample,
)
from tierwise.store.measured import BlockRecord, Measured
from tierwise.tiers.topology import NetworkCondition


def insert_block(db: sqlite3.Connection, condition: NetworkCondition, block: Block) -> None:
    """Add a block of ``condition`` and its samples."""
    shapes = dump_condition(condition)
    requests: Counter[str] = Counter()
    db.execute(
        "INSERT INTO blocks VALUES ((SELECT number FROM conditions WHERE shapes = ?), ?, ?, ?)",
        (shapes, block.index, block.input_index, dump_block_record(block)),
    )
    for sample in block.samples:
        db.execute(
            "INSERT INTO samples VALUES ((SELECT id FROM trials WHERE strategy = ? AND "
            "condition = (SELECT number FROM conditions WHERE shapes = ?)), "
            "?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                sample.trial,
                shapes,
                sample.block,
                requests[sample.trial],
                sample.input_index,
                sample.latency_s,
                sample.started_at_s,
                int(sample.late),
                dump(dict(sample.parts_s)),
                dump(dict(sample.wire_bytes)),
                sample.energy_j,
            ),
        )
        requests[sample.trial] += 1


def load_blocks(db: sqlite3.Connection, condition: NetworkCondition) -> tuple[Block, ...]:
    """The blocks of ``condition``, in order, samples in order of time."""
    shapes = dump_condition(condition)
    samples: dict[int, list[Sample]] = {}
    for row in db.execute(
        "SELECT samples.*, strategy FROM samples JOIN trials ON trial = trials.id WHERE "
        "condition = (SELECT number FROM conditions WHERE shapes = ?) ORDER BY started_at_s",
        (shapes,),
    ):
        samples.setdefault(row["block"], []).append(load_sample(dict(row)))
    return tuple(
        load_block(dict(row), samples.get(row["block"], []))
        for row in db.execute(
            "SELECT * FROM blocks WHERE "
            "condition = (SELECT number FROM conditions WHERE shapes = ?) ORDER BY block",
            (shapes,),
        )
    )


def outcome_key(number: int) -> str:
    """The fact that says how measuring condition ``number`` went."""
    return f"outcome:{number}"


def dump_outcome(plan: MeasurePlan, outcome: MeasureOutcome) -> str:
    """What blocks do not tell by themselves."""
    return dump(
        {
            "plan": asdict(plan),
            "stopped": outcome.reason.value,
            "warm_up_requests": outcome.warm_up.requests,
            "unsettled": list(outcome.warm_up.unsettled),
        }
    )


def load_measured(
    db: sqlite3.Connection,
    facts: Mapping[str, str],
    conditions: Mapping[int, NetworkCondition],
) -> dict[NetworkCondition, Measured]:
    """How each condition was measured that has blocks."""
    counts = {
        (row[0], row[1]): (row[2], row[3])
        for row in db.execute(
            "SELECT condition, block, count(*), sum(late) FROM samples "
            "JOIN trials ON trial = trials.id GROUP BY condition, block"
        )
    }
    rows: dict[int, list[sqlite3.Row]] = {}
    for row in db.execute("SELECT * FROM blocks ORDER BY condition, block"):
        rows.setdefault(row["condition"], []).append(row)
    found = {}
    for number, of_condition in rows.items():
        told = orjson.loads(facts.get(outcome_key(number), "{}"))
        found[conditions[number]] = Measured(
            blocks=_records(of_condition, counts),
            # Of a condition that is still being measured, or was by an older version.
            stopped=told.get("stopped", ""),
            plan=told.get("plan", {}),
            warm_up_requests=told.get("warm_up_requests", 0),
            unsettled=tuple(told.get("unsettled", ())),
        )
    return found


def _records(
    rows: Iterable[sqlite3.Row], counts: Mapping[tuple[int, int], tuple[int, int]]
) -> tuple[BlockRecord, ...]:
    records = [(row, orjson.loads(row["record"])) for row in rows]
    machines = [
        None if record["machine"] is None else MachineState(**record["machine"])
        for _, record in records
    ]
    return tuple(
        BlockRecord(
            number=row["block"],
            input_index=row["input_index"],
            requests=counts.get((row["condition"], row["block"]), (0, 0))[0],
            late=counts.get((row["condition"], row["block"]), (0, 0))[1],
            failures=len(record["failures"]),
            duration_s=record["duration_s"],
            machine=machine,
            disturbances=reasons,
        )
        for (row, record), machine, reasons in zip(
            records, machines, disturbances(machines), strict=True
        )
    )
