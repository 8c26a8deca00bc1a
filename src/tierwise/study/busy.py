"""The cheapest placement that makes use of every tier: what a partition is meant to be."""

from collections.abc import Mapping

from tierwise.errors import RequirementNotMet
from tierwise.predict.costs import Placement, PlacementCosts, PlacementLimits
from tierwise.predict.placement import best_placement
from tierwise.study.placing import Placing

# heuristic: more first or last working nodes than this are not all tried as the ones that a head
# or tail must hold; then the minimum cut is not called proven.
_MOST_ENDS = 3


def busy_placement(
    placing: Placing, costs: PlacementCosts, limits: PlacementLimits
) -> Placement | None:
    """The cheapest placement in which every tier has work; ``None`` where none was found.

    The cheapest of all where that has work everywhere. Else the first tier gets one of the working
    nodes that no other precedes, the last tier one of those that no other follows, each in turn.
    Where a tier between them still has none, nothing was found.
    """
    free = _try(placing, costs, limits, {})
    if free is not None and _busy(placing, free, costs.tiers):
        return free
    first, last = _ends(placing)
    whole = len(first) <= _MOST_ENDS and len(last) <= _MOST_ENDS
    best: Placement | None = None
    proven = whole
    for near in first[:_MOST_ENDS]:
        for far in last[:_MOST_ENDS]:
            if near == far:
                continue
            fixed = {(near, 0): 0, (far, costs.tiers - 2): 1}
            placed = _try(placing, costs, limits, fixed)
            if placed is None:
                continue
            if not _busy(placing, placed, costs.tiers):
                proven = False
                continue
            proven &= placed.proven_optimal
            if best is None or placed.latency_s < best.latency_s:
                best = placed
    if best is None:
        return None
    return Placement(best.tier_of, best.latency_s, best.bound_s, proven, best.resolution_s)


def _try(
    placing: Placing,
    costs: PlacementCosts,
    limits: PlacementLimits,
    fixed: Mapping[tuple[str, int], int],
) -> Placement | None:
    try:
        return best_placement(placing.flow, costs, limits, fixed)
    except RequirementNotMet:
        return None


def _busy(placing: Placing, placed: Placement, tiers: int) -> bool:
    return len({placed.tier_of[name] for name in placing.working}) == tiers


def _ends(placing: Placing) -> tuple[list[str], list[str]]:
    """Working nodes that no other one precedes, and those that no other one follows."""
    flow = placing.flow
    made_by = {tensor.name: tensor.producer for tensor in flow.tensors}
    before: dict[str, set[str]] = {name: set() for name in flow.nodes}
    for tensor in flow.tensors:
        maker = made_by[tensor.name]
        for reader in tensor.readers:
            if maker is not None:
                before[reader].add(maker)
    reached: dict[str, bool] = {}
    for name in flow.nodes:
        reached[name] = any(reached[one] or one in placing.working for one in before[name])
    followed: set[str] = set()
    for name in reversed(flow.nodes):
        if name in placing.working or name in followed:
            followed |= before[name]
    first = [name for name in flow.nodes if name in placing.working and not reached[name]]
    last = [name for name in flow.nodes if name in placing.working and name not in followed]
    return first, last
