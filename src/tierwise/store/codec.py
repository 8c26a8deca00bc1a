"""The store's data as JSON text and back; what is written here is format 1 of the database."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tierwise.operators.strategy import Operator, Strategy
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology


def dump(value: object) -> str:
    """Compact JSON with the keys in their own order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def dump_topology(topology: Topology) -> str:
    """The tiers without their tokens, which are never stored."""
    return dump(
        [
            {key: value for key, value in asdict(tier).items() if key != "token"}
            for tier in topology.tiers
        ]
    )


def load_topology(text: str) -> Topology:
    """What :func:`dump_topology` wrote."""
    return Topology(tuple(Tier(**tier) for tier in json.loads(text)))


def dump_condition(condition: NetworkCondition) -> str:
    """The shape of every link."""
    return dump({name: asdict(shape) for name, shape in condition.shapes.items()})


def load_condition(text: str) -> NetworkCondition:
    """What :func:`dump_condition` wrote."""
    return NetworkCondition({name: LinkShape(**shape) for name, shape in json.loads(text).items()})


def load_strategy(row: Mapping[str, Any]) -> Strategy:
    """The strategy in a row of ``trials``."""
    return Strategy(
        operator=Operator(row["operator"]),
        variant=row["variant"],
        tiers=tuple(json.loads(row["tiers"])),
        cuts=tuple(json.loads(row["cuts"])),
    )
