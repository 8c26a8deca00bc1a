"""The store's data as JSON text and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tierwise.measure.cold_start import ColdStart
from tierwise.measure.machine import MachineState
from tierwise.measure.sample import Block, Failure, Sample, Timing
from tierwise.operators.strategy import Operator, Strategy
from tierwise.tiers.topology import CPU_ONLY, LinkShape, NetworkCondition, Tier, Topology


def dump(value: object) -> str:
    """Compact JSON with the keys in their own order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def dump_topology(topology: Topology) -> str:
    """The tiers without what lets a client in, which is never stored."""
    return dump(
        [
            {key: value for key, value in asdict(tier).items() if key not in {"token", "tls"}}
            for tier in topology.tiers
        ]
    )


def load_topology(text: str) -> Topology:
    """What :func:`dump_topology` wrote."""
    tiers = json.loads(text)
    # Results of before have no providers: there was the one that is the default.
    known = [tier | {"providers": tuple(tier.get("providers", CPU_ONLY))} for tier in tiers]
    return Topology(tuple(Tier(**tier) for tier in known))


def dump_condition(condition: NetworkCondition) -> str:
    """The shape of every link; which are real, the topology says."""
    return dump(
        {
            name: {key: value for key, value in asdict(shape).items() if key != "real"}
            for name, shape in condition.shapes.items()
        }
    )


def load_condition(text: str, topology: Topology) -> NetworkCondition:
    """What :func:`dump_condition` wrote."""
    return topology.condition(
        {name: LinkShape(**shape) for name, shape in json.loads(text).items()}
    )


def load_strategy(row: Mapping[str, Any]) -> Strategy:
    """The strategy in a row of ``trials``."""
    return Strategy(
        operator=Operator(row["operator"]),
        variant=row["variant"],
        tiers=tuple(json.loads(row["tiers"])),
        cuts=tuple(json.loads(row["cuts"])),
        # Older formats had none.
        encodings=tuple(
            tuple((name, text) for name, text in crossing)
            for crossing in json.loads(row.get("encodings", "[]"))
        ),
    )


def dump_block_record(block: Block) -> str:
    """What is known of a block besides its number, its input and its samples."""
    return dump(
        {
            "order": list(block.order),
            "failures": [asdict(failure) for failure in block.failures],
            "started_at_s": block.started_at_s,
            "duration_s": block.duration_s,
            "machine": None if block.machine is None else asdict(block.machine),
        }
    )


def load_block(row: Mapping[str, Any], samples: Sequence[Sample]) -> Block:
    """The block in a row of ``blocks``, with its samples."""
    record = json.loads(row["record"])
    machine = record["machine"]
    return Block(
        index=row["block"],
        input_index=row["input_index"],
        order=tuple(record["order"]),
        samples=tuple(samples),
        failures=tuple(Failure(**failure) for failure in record["failures"]),
        started_at_s=record["started_at_s"],
        duration_s=record["duration_s"],
        machine=None if machine is None else MachineState(**machine),
    )


def load_sample(row: Mapping[str, Any]) -> Sample:
    """The sample in a row of ``samples`` that has the trial's ``strategy`` beside it."""
    return Sample(
        trial=row["strategy"],
        block=row["block"],
        input_index=row["input_index"],
        latency_s=row["latency_s"],
        parts_s=json.loads(row["parts_s"]),
        wire_bytes=json.loads(row["wire_bytes"]),
        started_at_s=row["started_at_s"],
        late=bool(row["late"]),
        energy_j=row.get("energy_j"),
    )


def dump_cold_start(cold: ColdStart) -> str:
    """Loads, first and second requests."""
    return dump(asdict(cold))


def load_cold_start(text: str) -> ColdStart:
    """What :func:`dump_cold_start` wrote."""
    record = json.loads(text)
    return ColdStart(
        load_s={tier: tuple(times) for tier, times in record["load_s"].items()},
        first=tuple(Timing(**timing) for timing in record["first"]),
        second=tuple(Timing(**timing) for timing in record["second"]),
    )
