"""Placement under memory limits: Lagrangian bounds from minimum cuts, and branch and bound."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from tierwise.errors import RequirementNotMet
from tierwise.predict.cheapest import minimum
from tierwise.predict.costs import Placement, PlacementCosts, PlacementLimits, latency_s
from tierwise.predict.dataflow import DataFlow

# heuristic: rounds of the price search in each sub-problem; more tighten the bound little.
_PRICE_ROUNDS = 6
# Sub-problems before giving up the proof; each costs up to seven minimum cuts. A ResNet-50 on
# three tiers with tight limits needed 46 and 71.
_MOST_SUBPROBLEMS = 150
# Bounds within this share of the best answer count as equal: far below what can be measured.
_PROOF_GAP = 1e-6

_Fixed = Mapping[tuple[str, int], int]


@dataclass
class _Search:
    """What the search knows: the problem, the best placement so far, the coarsest resolution."""

    flow: DataFlow
    costs: PlacementCosts
    limits: PlacementLimits
    best_s: float = math.inf
    best: Mapping[str, int] | None = None
    resolution_s: float = 0.0

    @property
    def most(self) -> np.ndarray:
        """Bytes each tier may hold, ``inf`` for no limit, shape ``(tiers,)``."""
        given = [math.inf if most is None else float(most) for most in self.limits.most_bytes]
        return np.array(given + [math.inf] * (self.costs.tiers - len(given)))

    def held(self, tier_of: Mapping[str, int]) -> np.ndarray:
        """Bytes each tier holds, shape ``(tiers,)``."""
        held = np.zeros(self.costs.tiers)
        for node, tier in tier_of.items():
            held[tier] += self.limits.memory_bytes.get(node, 0)
        return held

    def offer(self, tier_of: Mapping[str, int]) -> None:
        """Keep a placement if it fits and is the best so far."""
        if np.all(self.held(tier_of) <= self.most):
            total = latency_s(self.flow, self.costs, tier_of)
            if total < self.best_s:
                self.best_s, self.best = total, dict(tier_of)


def within_memory(
    flow: DataFlow, costs: PlacementCosts, limits: PlacementLimits, fixed: _Fixed | None = None
) -> Placement:
    """The cheapest placement that keeps to all limits, as far as the search could tell.

    Raises:
        RequirementNotMet: no placement fits (proven, or none was found).
    """
    search = _Search(flow, costs, limits)
    needed = sum(limits.memory_bytes.get(node, 0) for node in flow.nodes)
    if needed > search.most.sum():
        raise _does_not_fit("No placement", needed, limits)
    order = count()
    waiting: list[tuple[float, int, _Fixed, np.ndarray]] = [
        (0.0, next(order), fixed or {}, np.zeros(costs.tiers))
    ]
    bound_s, solved = 0.0, 0
    while waiting:
        bound_s = waiting[0][0]
        if bound_s >= search.best_s * (1 - _PROOF_GAP) or solved >= _MOST_SUBPROBLEMS:
            break
        solved += 1
        _, _, decided, prices = heapq.heappop(waiting)
        for child in _explore(search, decided, prices):
            heapq.heappush(waiting, (child[0], next(order), child[1], child[2]))
    else:
        bound_s = search.best_s
    if search.best is None:
        what = "No placement" if not waiting else f"None of {solved} placements tried"
        raise _does_not_fit(what, needed, limits)
    bound_s = min(bound_s, search.best_s)
    return Placement(
        tier_of=search.best,
        latency_s=search.best_s,
        bound_s=bound_s,
        proven_optimal=bound_s >= search.best_s * (1 - _PROOF_GAP),
        resolution_s=search.resolution_s,
    )


def _does_not_fit(what: str, needed: int, limits: PlacementLimits) -> RequirementNotMet:
    return RequirementNotMet(
        f"{what} fits the tiers' memory: {needed} bytes are needed, the limits are "
        f"{list(limits.most_bytes)}.",
        hint="Raise a tier's `memory:`, or quantize the model.",
    )


def _explore(
    search: _Search, fixed: _Fixed, prices: np.ndarray
) -> list[tuple[float, _Fixed, np.ndarray]]:
    """Bound one sub-problem; its two halves, unless it is done with."""
    unpriced = _priced(search, fixed, np.zeros(search.costs.tiers))
    if unpriced is None:
        return []
    bound_s, tier_of = unpriced
    search.offer(tier_of)
    excess = search.held(tier_of) - search.most
    if np.all(excess <= 0):
        return []  # the cheapest without limits keeps to them
    for _ in range(_PRICE_ROUNDS):
        if bound_s >= search.best_s:
            return []
        prices = _better_prices(search, prices, excess, bound_s)
        priced = _priced(search, fixed, prices)
        if priced is None:
            break
        bound_s = max(bound_s, priced[0])
        search.offer(priced[1])
        excess = search.held(priced[1]) - search.most
    if bound_s >= search.best_s * (1 - _PROOF_GAP):
        return []
    branch = _branch(search, tier_of, fixed)
    if branch is None:
        return []
    return [(bound_s, {**fixed, branch: value}, prices) for value in (0, 1)]


def _priced(
    search: _Search, fixed: _Fixed, prices: np.ndarray
) -> tuple[float, dict[str, int]] | None:
    """A lower bound for the sub-problem, and the placement behind it.

    Every byte on a tier costs its price, and every tier that keeps to its limit gets the price of
    the limit back; so no placement within the limits becomes dearer by prices.
    """
    costs = search.costs
    limited = np.isfinite(search.most)
    credit = float(np.dot(prices[limited], search.most[limited]))
    bytes_of = search.limits.memory_bytes
    if np.any(prices > 0):
        compute_s = {
            node: [cost + float(price) * bytes_of.get(node, 0)
                   for cost, price in zip(costs.compute_s[node], prices, strict=True)]
            for node in search.flow.nodes
        }  # fmt: skip
        costs = replace(costs, compute_s=compute_s)
    ceiling = search.best_s + credit
    found = minimum(search.flow, costs, search.limits.stay, fixed, at_most=ceiling)
    if found is None:
        return None
    tier_of, resolution_s = found
    search.resolution_s = max(search.resolution_s, resolution_s)
    # Where a clipped cost was paid, the true minimum is at least the ceiling.
    return min(latency_s(search.flow, costs, tier_of), ceiling) - credit, tier_of


def _better_prices(
    search: _Search, prices: np.ndarray, excess: np.ndarray, bound_s: float
) -> np.ndarray:
    """A subgradient step: dearer where too much is held, cheaper where there is room."""
    limited = np.isfinite(search.most)
    direction = np.where(limited, excess, 0.0)
    if not np.any(direction):
        return prices
    # heuristic: without a placement that fits, suppose that one costs a tenth more.
    goal_s = search.best_s if math.isfinite(search.best_s) else 1.1 * bound_s + 1e-9
    step = max(goal_s - bound_s, 1e-3 * goal_s) / float(np.dot(direction, direction))
    return np.maximum(prices + step * direction, 0.0)


def _branch(search: _Search, tier_of: Mapping[str, int], fixed: _Fixed) -> tuple[str, int] | None:
    """The largest node of an overfull tier whose side of a link is still open."""
    held, most = search.held(tier_of), search.most
    bytes_of = search.limits.memory_bytes
    for tier in np.flatnonzero(held > most):
        here = [node for node, place in tier_of.items() if place == tier and bytes_of.get(node, 0)]
        for node in sorted(here, key=lambda node: -bytes_of[node]):
            for link in _links_beside(int(tier), search.costs.tiers):
                if (node, link) not in fixed:
                    return node, link
        return None  # everything that overfills it is fixed to it
    return None


def _links_beside(tier: int, tiers: int) -> Sequence[int]:
    return [link for link in (tier, tier - 1) if 0 <= link < tiers - 1]
