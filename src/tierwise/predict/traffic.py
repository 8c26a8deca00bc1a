"""What every strategy sends over which links: counted where it was measured."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from tierwise.operators.strategy import Strategy
from tierwise.store.results import SegmentCosts, TrialResult
from tierwise.tiers.topology import Topology

Route = tuple[str, ...]
"""The links between two tiers, which a hop crosses packet by packet: the slowest sets the pace."""


@dataclass(frozen=True)
class Traffic:
    """One row a strategy, one column a route.

    Attributes:
        routes: Every route that some strategy takes.
        hops: How many times a request changes its tier.
        crossings: How many times it takes each route (there and back is one).
        wire_bytes: Bytes that take each route, both ways.
        known: Whether the bytes are known.
    """

    routes: tuple[Route, ...]
    hops: Float[np.ndarray, " s"]
    crossings: Float[np.ndarray, "s routes"]
    wire_bytes: Float[np.ndarray, "s routes"]
    known: Bool[np.ndarray, " s"]

    def beyond(self, burst_bytes: float) -> "Traffic":
        """Without the bytes that a route lets through at once."""
        return replace(
            self, wire_bytes=np.maximum(self.wire_bytes - burst_bytes * self.crossings, 0.0)
        )


# What a hop carries: the model's input, or the tensors of a variant's cut, as they are encoded.
_Cargo = tuple[str, tuple[str, ...], int, tuple[tuple[str, str], ...]]


def traffic_of(
    strategies: Sequence[Strategy],
    trials: Sequence[TrialResult],
    topology: Topology,
    expected: Mapping[str, SegmentCosts],
) -> Traffic:
    """Bytes of measured strategies, of others that carry the same, else those ``expected``."""
    counted: dict[Strategy, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        for link, size in trial.wire_bytes.items():
            counted[trial.strategy][link].append(size)
    cargo_bytes: dict[_Cargo, list[float]] = defaultdict(list)
    for strategy, of_link in counted.items():
        for cargo, crossed in _hops(strategy, topology):
            cargo_bytes[cargo] += [float(np.median(of_link[x])) for x in crossed if x in of_link]
    routes = tuple(
        dict.fromkeys(route for strategy in strategies for _, route in _hops(strategy, topology))
    )
    shape = (len(strategies), len(routes))
    hops, known = np.zeros(len(strategies)), np.ones(len(strategies), dtype=bool)
    crossings, wire_bytes = np.zeros(shape), np.zeros(shape)
    for row, strategy in enumerate(strategies):
        if strategy.id in expected:
            for place, size in enumerate(expected[strategy.id].hop_bytes):
                # Only where nothing was counted: counted bytes have their headers.
                cargo = _cargo(strategy, place)
                cargo_bytes[cargo] = cargo_bytes.get(cargo) or [float(size)]
        for cargo, route in _hops(strategy, topology):
            hops[row] += 1
            column = routes.index(route)
            crossings[row, column] += 1
            own = counted.get(strategy, {})
            alike = [size for link in route for size in own.get(link, ())] or cargo_bytes.get(cargo)
            known[row] &= bool(alike)
            wire_bytes[row, column] += float(np.median(alike)) if alike else 0.0
    return Traffic(routes, hops, crossings, wire_bytes, known)


def crossed_links(strategy: Strategy, topology: Topology) -> frozenset[str]:
    """Names of the links that a request of ``strategy`` crosses."""
    return frozenset(link for _, crossed in _hops(strategy, topology) for link in crossed)


def _cargo(strategy: Strategy, place: int) -> _Cargo:
    encodings = strategy.encodings[place] if place < len(strategy.encodings) else ()
    return strategy.variant, strategy.cuts, place, encodings


def _hops(strategy: Strategy, topology: Topology) -> list[tuple[_Cargo, Route]]:
    """What each hop carries, and the links it crosses."""
    start = topology.names[0]
    found: list[tuple[_Cargo, Route]] = []
    if strategy.tiers[0] != start:
        crossed = tuple(link.name for link in topology.path(start, strategy.tiers[0]))
        found.append((("", (), -1, ()), crossed))
    for place, (near, far) in enumerate(pairwise(strategy.tiers)):
        crossed = tuple(link.name for link in topology.path(near, far))
        found.append((_cargo(strategy, place), crossed))
    return found
