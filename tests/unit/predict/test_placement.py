"""The minimum cut finds what trying everything finds."""

import math
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise.errors import RequirementNotMet
from tierwise.graph.segments import split
from tierwise.predict.costs import PlacementCosts, PlacementLimits, latency_s
from tierwise.predict.dataflow import DataFlow, PlacedTensor, data_flow, placement_cuts
from tierwise.predict.placement import best_placement, raw_inputs, until
from tierwise.runtime.prepare import prepare


def random_flow(rng: np.random.Generator, nodes: int) -> DataFlow:
    """Branches, shared tensors, one or two inputs; whatever nothing reads is an output."""
    names = [f"n{index}" for index in range(nodes)]
    reach = int(rng.integers(2, nodes + 2))  # how far back a node reads: how wide branches are
    made: list[tuple[str, str | None]] = [(f"x{i}", None) for i in range(rng.integers(1, 3))]
    readers: dict[str, list[str]] = {name: [] for name, _ in made}
    for name in names:
        recent = made[-int(rng.integers(2, reach + 2)) :]
        count = min(len(recent), int(rng.integers(1, 4)))
        for index in rng.choice(len(recent), size=count, replace=False):
            readers[recent[index][0]].append(name)
        for part in range(1 + (rng.random() < 0.15)):
            made.append((f"{name}.{part}", name))
            readers[f"{name}.{part}"] = []
    tensors = tuple(
        PlacedTensor(t, producer, tuple(readers[t]), not readers[t] or rng.random() < 0.05)
        for t, producer in made
    )
    return DataFlow(tuple(names), tensors, {})


def random_costs(rng: np.random.Generator, flow: DataFlow, tiers: int) -> PlacementCosts:
    slow = np.sort(rng.uniform(0.1, 3.0, tiers))[::-1]  # farther tiers are usually faster

    def seconds(scale: float, size: int) -> list[float]:
        return list(rng.uniform(0, scale, size))

    return PlacementCosts(
        compute_s={n: list(rng.uniform(0.5, 1.5) * slow * 0.01) for n in flow.nodes},
        transfer_s={t.name: seconds(0.02, tiers - 1) for t in flow.tensors},
        round_trip_s=seconds(0.01, tiers - 1),
        return_s={t.name: seconds(0.005, tiers - 1) for t in flow.tensors if t.output},
        forward_outputs=bool(rng.random() < 0.5),
    )


def all_placements(flow: DataFlow, tiers: int) -> np.ndarray:
    """Every placement in which data goes one way, shape ``(placements, nodes)``."""
    index = {name: place for place, name in enumerate(flow.nodes)}
    before: dict[str, set[int]] = {name: set() for name in flow.nodes}
    for tensor in flow.tensors:
        if tensor.producer is not None:
            for reader in tensor.readers:
                before[reader].add(index[tensor.producer])
    rows = np.zeros((1, 0), dtype=np.int8)
    for name in flow.nodes:
        earliest = np.zeros(len(rows), dtype=np.int8)
        for place in before[name]:
            earliest = np.maximum(earliest, rows[:, place])
        grown = [
            np.column_stack([rows[earliest <= tier], np.full((earliest <= tier).sum(), tier)])
            for tier in range(tiers)
        ]
        rows = np.concatenate(grown).astype(np.int8)
    return rows


def brute_force(
    flow: DataFlow, costs: PlacementCosts, limits: PlacementLimits, rows: np.ndarray
) -> float:
    """The least latency of all placements, summed up per placement; independent of the solver."""
    column = {name: rows[:, place] for place, name in enumerate(flow.nodes)}
    last = rows.max(axis=1)
    total = np.zeros(len(rows))
    for name in flow.nodes:
        total += np.asarray(costs.compute_s[name])[column[name]]
    for link in range(costs.tiers - 1):
        total += (last > link) * costs.round_trip_s[link]
        for tensor in flow.tensors:
            here = 0 if tensor.producer is None else column[tensor.producer]
            beyond = np.zeros(len(rows), dtype=bool)
            for reader in tensor.readers:
                beyond |= column[reader] > link
            returns = here > link
            if tensor.output and costs.forward_outputs:
                beyond |= last > link
                returns = last > link
            crosses = beyond & (here <= link)
            total += crosses * costs.transfer_s[tensor.name][link]
            if tensor.output:
                total += returns * costs.return_s[tensor.name][link]
            if tensor.name in limits.stay:
                total[crosses] = np.inf
    for tier, most in enumerate(limits.most_bytes):
        if most is not None:
            held = sum((column[n] == tier) * limits.memory_bytes[n] for n in flow.nodes)
            total[held > most] = np.inf
    return float(total.min())


# Data goes one way, so of 4^12 placements of 12 nodes on 4 tiers some ten thousand are left.
SIZES = st.tuples(st.sampled_from([12, 12, 11, 8, 5, 3, 1]), st.sampled_from([2, 3, 4]))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(size=SIZES, seed=st.integers(0, 10**6), private=st.sampled_from(["no", "raw", "until"]))
def test_equal_to_trying_everything(size: tuple[int, int], seed: int, private: str) -> None:
    rng = np.random.default_rng(seed)
    nodes, tiers = size
    flow = random_flow(rng, nodes)
    costs = random_costs(rng, flow, tiers)
    stay = {"no": frozenset[str](), "raw": raw_inputs(flow)}.get(private)
    if stay is None:
        stay = until(flow, flow.nodes[int(rng.integers(0, nodes))])
    limits = PlacementLimits(stay=stay)
    found = best_placement(flow, costs, limits)
    least = brute_force(flow, costs, limits, all_placements(flow, tiers))
    assert found.proven_optimal
    assert found.latency_s == pytest.approx(least, abs=1e-6)
    assert found.latency_s == latency_s(flow, costs, found.tier_of)
    assert found.resolution_s < 1e-7


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    size=st.sampled_from([(12, 2), (10, 3), (12, 3), (8, 4), (12, 4)]), seed=st.integers(0, 10**6)
)
def test_equal_to_trying_everything_under_memory_limits(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes, tiers = size
    flow = random_flow(rng, nodes)
    costs = random_costs(rng, flow, tiers)
    memory = {name: int(rng.integers(0, 100)) for name in flow.nodes}
    total = sum(memory.values())
    most = [
        None if rng.random() < 0.3 else int(rng.uniform(0.2, 0.9) * total) for _ in range(tiers)
    ]
    limits = PlacementLimits(memory_bytes=memory, most_bytes=most)
    least = brute_force(flow, costs, limits, all_placements(flow, tiers))
    if math.isinf(least):
        with pytest.raises(RequirementNotMet, match="fits the tiers' memory"):
            best_placement(flow, costs, limits)
        return
    found = best_placement(flow, costs, limits)
    assert found.latency_s >= least - 1e-9
    assert found.bound_s <= least + 1e-6
    assert found.proven_optimal
    assert found.latency_s == pytest.approx(least, abs=1e-6)


def chain(costs: Mapping[str, list[float]]) -> DataFlow:
    names = [*costs]
    tensors = [PlacedTensor("x", None, (names[0],))]
    for name, after in zip(names, [*names[1:], None], strict=True):
        tensors.append(PlacedTensor(f"{name}.0", name, (after,) if after else (), after is None))
    return DataFlow(tuple(names), tuple(tensors), {})


def test_a_tensor_that_two_nodes_read_beyond_a_link_pays_once() -> None:
    flow = DataFlow(
        ("a", "b", "c", "d"),
        (
            PlacedTensor("x", None, ("a",)),
            PlacedTensor("shared", "a", ("b", "c")),
            PlacedTensor("b.0", "b", ("d",)),
            PlacedTensor("c.0", "c", ("d",)),
            PlacedTensor("y", "d", (), output=True),
        ),
        {},
    )
    costs = PlacementCosts(
        compute_s={"a": [0, 9], "b": [5, 1], "c": [5, 1], "d": [5, 1]},
        transfer_s={"x": [9], "shared": [4], "b.0": [9], "c.0": [9], "y": [0]},
        round_trip_s=[0.5],
    )
    found = best_placement(flow, costs)
    assert found.tier_of == {"a": 0, "b": 1, "c": 1, "d": 1}
    assert found.latency_s == pytest.approx(0 + 4 + 3 + 0.5)


def test_a_round_trip_that_is_too_long_keeps_everything_near() -> None:
    work = {"a": [1.0, 0.1], "b": [1.0, 0.1]}
    flow = chain(work)
    free = {tensor.name: [0.0] for tensor in flow.tensors}
    near = best_placement(flow, PlacementCosts(work, free, [1.9]))
    far = best_placement(flow, PlacementCosts(work, free, [1.7]))
    assert ({*near.tier_of.values()}, {*far.tier_of.values()}) == ({0}, {1})


def test_nothing_fits_says_what_is_needed() -> None:
    work = {"a": [1.0, 1.0], "b": [1.0, 1.0]}
    flow = chain(work)
    limits = PlacementLimits(memory_bytes={"a": 10, "b": 10}, most_bytes=[5, 18])
    free = {tensor.name: [0.0] for tensor in flow.tensors}
    with pytest.raises(RequirementNotMet, match=r"20 bytes are needed, the limits are \[5, 18\]"):
        best_placement(flow, PlacementCosts(work, free, [0.0]), limits)


QDQ = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,8] x) => (float[1,8] y)
<float s = {0.1}, uint8 z = {128}>
{
  a = Relu(x)
  q = QuantizeLinear(a, s, z)
  dq = DequantizeLinear(q, s, z)
  b = Sigmoid(dq)
  c = Add(b, dq)
  y = Tanh(c)
}
"""


def test_a_quantized_graph_is_placed_so_that_integers_cross() -> None:
    graph = prepare(ir.from_proto(onnx.parser.parse_model(QDQ)), simplify=False)
    flow = data_flow(graph)
    assert [*flow.absorbed.values()] == [graph.readers("dq")[0].name]
    transfer = {t.name: [graph.tensors[t.name].bytes * 1.0] for t in flow.tensors}
    compute = {node: [9.0 * place, 0.0] for place, node in enumerate(flow.nodes)}
    limits = PlacementLimits(stay=raw_inputs(flow))
    placed = best_placement(flow, PlacementCosts(compute, transfer, [0.0]), limits)
    tiers, cuts = placement_cuts(graph, flow, placed.tier_of)
    assert (tiers, [cut.names for cut in cuts]) == ((0, 1), [("q",)])
    assert [len(part.graph) for part in split(graph, cuts)] == [2, 4]
