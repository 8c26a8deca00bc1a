"""Where to cut a variant for a chain of tiers: minimum cuts and listed cuts, for a whole sweep."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from tierwise.errors import CutError
from tierwise.graph.analysis import name_of
from tierwise.graph.cuts import Cut, list_cuts
from tierwise.predict.costs import latency_s
from tierwise.predict.dataflow import placement_cuts
from tierwise.study.busy import busy_placement
from tierwise.study.placing import Placing, around_s, hop, slowdown
from tierwise.study.scan import Scan
from tierwise.tiers.topology import NetworkCondition, Topology

# Predictions this close are the same, and the listed cut, whose name is in `inspect`, is taken.
_SAME = 1e-6


@dataclass(frozen=True)
class ChosenCuts:
    """Cuts and what the model says of them.

    Attributes:
        cuts: One between every two tiers, heads growing.
        predicted_s: Latency under each condition, in their order.
    """

    cuts: tuple[Cut, ...]
    predicted_s: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What :func:`~tierwise.graph.cuts.find_cut` finds each of them by."""
        return tuple(cut.id if cut.behind else ",".join(cut.names) for cut in self.cuts)


@dataclass(frozen=True)
class _Candidate:
    cuts: tuple[Cut, ...]
    predicted_s: np.ndarray


def choose_cuts(
    placing: Placing,
    tiers: Sequence[str],
    topology: Topology,
    conditions: Sequence[NetworkCondition],
) -> ChosenCuts:
    """The cuts for a chain of tiers, each of which gets work, with the least mean regret.

    Candidates are the minimum cut under every condition and every listed cut (for three tiers:
    every pair of them). One choice serves the whole sweep, so that a strategy is the same
    deployment under every network and its latencies can be compared; under a single condition it
    is the predicted optimum.

    Raises:
        CutError: the graph cannot be cut with work on every tier, or not without sending what
            must stay.
    """
    # Listed ones come first, so that of equal ones they are taken.
    candidates = [
        *_listed(placing, tiers, topology, conditions),
        *_optima(placing, tiers, topology, conditions),
    ]
    if not candidates:
        where = "both sides" if len(tiers) == 2 else "every tier"
        kept = f" while what must stay on {tiers[0]} stays there" if placing.private else ""
        raise CutError(
            f"The model cannot be cut with work on {where}{kept}.",
            hint="Leave P, QP, EP and QEP out of `operators`.",
        )
    predicted_s = np.stack([candidate.predicted_s for candidate in candidates])
    regret = (predicted_s / predicted_s.min(axis=0) - 1).mean(axis=1)
    best = int(np.argmax(regret <= regret.min() + _SAME))
    return ChosenCuts(
        candidates[best].cuts,
        tuple(float(value) for value in predicted_s[best]),
    )


def _listed(
    placing: Placing,
    tiers: Sequence[str],
    topology: Topology,
    conditions: Sequence[NetworkCondition],
) -> list[_Candidate]:
    """Every listed cut, or pair of them, that leaves work on every tier and fits the tiers."""
    if len(tiers) > 3:
        return []
    scan = Scan.of(placing, tiers)
    predicted = [scan.predict_s(topology, condition, tiers) for condition in conditions]
    fits = scan.fits(tiers, topology)
    fine = [
        index
        for index in range(len(scan.places))
        if all(np.isfinite(seconds[index]) for seconds in predicted)
    ]
    fine = [index for index in fine if fits[index]] or fine
    return [
        _Candidate(
            tuple(scan.cuts[at] for at in scan.places[index]),
            np.array([seconds[index] for seconds in predicted]),
        )
        for index in fine
    ]


def _optima(
    placing: Placing,
    tiers: Sequence[str],
    topology: Topology,
    conditions: Sequence[NetworkCondition],
) -> list[_Candidate]:
    """The minimum cut under every condition, where there is one."""
    every = [placing.costs(tiers, topology, condition) for condition in conditions]
    around = [around_s(topology, one, tiers, placing.workload) for one in conditions]
    limits = placing.limits(tiers, topology)
    # Conditions that differ on other links only are the same problem.
    distinct = {
        tuple(hop(topology, one, a, b) for a, b in pairwise(tiers)): costs
        for one, costs in zip(conditions, every, strict=True)
    }
    found: dict[tuple[tuple[str, ...], ...], _Candidate] = {}
    listed = {frozenset(cut.names): cut for cut in list_cuts(placing.graph)}
    for costs in distinct.values():
        placed = busy_placement(placing, costs, limits)
        if placed is None:
            continue
        try:
            _, cuts = placement_cuts(placing.graph, placing.flow, placed.tier_of)
        except CutError:
            continue  # it would run a random node twice, or leave one side without a node
        cuts = tuple(listed.get(frozenset(cut.names), cut) for cut in cuts)
        names = tuple(cut.names for cut in cuts)
        if names not in found and not any("," in name for one in names for name in one):
            # The reply's way back is part of `around`, and every tier is used.
            without = [replace(one, return_s={}) for one in every]
            found[names] = _Candidate(
                cuts,
                np.array(
                    [
                        base + latency_s(placing.flow, one, placed.tier_of)
                        for base, one in zip(around, without, strict=True)
                    ]
                ),
            )
    return list(found.values())


def predict_cuts_s(
    placing: Placing,
    cuts: Sequence[Cut],
    tiers: Sequence[str],
    topology: Topology,
    condition: NetworkCondition,
) -> float:
    """Latency of a request that is cut at ``cuts``, listed or not, which the user named."""
    graph = placing.graph
    total = max(1, sum(graph.node_macs[name_of(node)] for node in graph.data_nodes))
    shares = [0.0, *(cut.head_macs / total for cut in cuts), 1.0]
    seconds = around_s(topology, condition, tiers, placing.workload)
    for tier, (before, after) in zip(tiers, pairwise(shares), strict=True):
        seconds += slowdown(topology.tier(tier)) * (after - before) * placing.workload.compute_s
    for cut, (near, far) in zip(cuts, pairwise(tiers), strict=True):
        over = hop(topology, condition, near, far)
        seconds += over.rtt_s + sum(placing.crossing_s(name, over) for name in cut.names)
    return seconds
