"""The best placement of a graph's nodes on a chain of tiers.

Costs: computing each node on its tier; every tensor once on every link that it crosses, however
many nodes read it beyond, codec time included; a link's round trip once if anything lies beyond
it; the result's way back. One minimum cut gives the optimum. Memory limits are not part of a
minimum cut: they are handled on top, and the answer says whether it is proven.
"""

import math
from collections.abc import Mapping

from tierwise.errors import RequirementNotMet
from tierwise.predict.cheapest import minimum
from tierwise.predict.costs import Placement, PlacementCosts, PlacementLimits, latency_s
from tierwise.predict.dataflow import DataFlow
from tierwise.predict.memory import within_memory


def raw_inputs(flow: DataFlow) -> frozenset[str]:
    """Privacy "raw input stays": the inputs themselves never cross a link."""
    return frozenset(tensor.name for tensor in flow.tensors if tensor.producer is None)


def until(flow: DataFlow, node: str) -> frozenset[str]:
    """Privacy "not before ``node``": what ``node`` has had no part in never crosses a link.

    Raises:
        KeyError: the flow has no such node.
    """
    made_by = {tensor.name: tensor.producer for tensor in flow.tensors}
    reads: dict[str, list[str]] = {name: [] for name in flow.nodes}
    for tensor in flow.tensors:
        for reader in tensor.readers:
            reads[reader].append(tensor.name)
    reads[node]  # raises for an unknown node
    behind = {node}
    for name in flow.nodes:
        if any(made_by[tensor] in behind for tensor in reads[name]):
            behind.add(name)
    return frozenset(t.name for t in flow.tensors if t.producer not in behind)


def best_placement(
    flow: DataFlow,
    costs: PlacementCosts,
    limits: PlacementLimits | None = None,
    fixed: Mapping[tuple[str, int], int] | None = None,
) -> Placement:
    """The cheapest placement that keeps to the limits.

    Without memory limits the answer is always proven, up to rounding.

    Args:
        flow: What to place.
        costs: What it costs.
        limits: What it must keep to.
        fixed: By node and link, whether the node must lie beyond the link.

    Raises:
        RequirementNotMet: no placement keeps to the limits.
    """
    limits = limits or PlacementLimits()
    at_once = min(latency_s(flow, costs, dict.fromkeys(flow.nodes, tier))
                  for tier in range(costs.tiers))  # fmt: skip
    # Above, not at: a cost clipped to the optimum itself would tie with it.
    at_most = math.inf if limits.stay or fixed else 1.01 * at_once
    free = minimum(flow, costs, limits.stay, fixed, at_most=at_most)
    if free is None:
        raise RequirementNotMet(
            "No placement keeps what must stay on the first tier there.",
            hint="Allow more to leave it, or give the first tier a way to compute every node.",
        )
    tier_of, resolution_s = free
    if any(most is not None for most in limits.most_bytes):
        return within_memory(flow, costs, limits, fixed)
    total = latency_s(flow, costs, tier_of)
    return Placement(tier_of, total, total, proven_optimal=True, resolution_s=resolution_s)
