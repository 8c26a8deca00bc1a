"""Every listed cut, and every pair of them for three tiers, weighed at once: the plain scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from typing import Self

import numpy as np

from tierwise.graph.analysis import Graph, name_of
from tierwise.graph.cuts import Cut, list_cuts
from tierwise.study.placing import Placing, around_s, hop, slowdown
from tierwise.tiers.topology import NetworkCondition, Topology

# heuristic: pairs of more listed cuts than this, for chains of three tiers, are not all weighed;
# those with the fewest bytes are. The minimum cut looks at all.
_MOST_LISTED = 400


@dataclass(frozen=True)
class Scan:
    """Listed cuts in order, and the combinations of them that leave work on every tier.

    Attributes:
        placing: What is cut.
        cuts: The listed cuts with work on both sides.
        head_s: Seconds of every one's head here.
        head_bytes: Weights of every one's head.
        places: Indices into ``cuts``, one between every two tiers.
    """

    placing: Placing
    cuts: tuple[Cut, ...]
    head_s: np.ndarray
    head_bytes: np.ndarray
    places: list[tuple[int, ...]]

    @classmethod
    def of(cls, placing: Placing, tiers: Sequence[str]) -> Self:
        """All combinations for a chain of ``tiers``."""
        graph = placing.graph
        total = sum(graph.node_macs[name_of(node)] for node in graph.data_nodes)
        cuts = tuple(
            cut
            for cut in list_cuts(graph)
            if not total or (cut.head_macs > 0 and cut.tail_macs > 0)
        )
        if len(tiers) > 2 and len(cuts) > _MOST_LISTED:
            kept = sorted(range(len(cuts)), key=lambda at: cuts[at].wire_bytes)[:_MOST_LISTED]
            cuts = tuple(cuts[at] for at in sorted(kept))
        places = [
            place
            for place in combinations(range(len(cuts)), len(tiers) - 1)
            if not total or all(cuts[a].head_macs < cuts[b].head_macs for a, b in pairwise(place))
        ]
        head_s = _up_to(graph, cuts, placing.node_s)
        head_bytes = _up_to(graph, cuts, placing.weight_bytes)
        return cls(placing, cuts, head_s, head_bytes, places)

    def predict_s(
        self, topology: Topology, condition: NetworkCondition, tiers: Sequence[str]
    ) -> np.ndarray:
        """Latency of every combination under ``condition``."""
        place = np.array(self.places, dtype=np.int64).reshape(-1, len(tiers) - 1)
        done_s = [np.zeros(len(place))]
        done_s += [self.head_s[place[:, at]] for at in range(len(tiers) - 1)]
        done_s.append(np.full(len(place), sum(self.placing.node_s.values())))
        total = np.full(
            len(place),
            around_s(topology, condition, tiers, self.placing.workload),
            dtype=np.float64,
        )
        for tier, (before, after) in zip(tiers, pairwise(done_s), strict=True):
            total += slowdown(topology.tier(tier)) * (after - before)
        for at, (near, far) in enumerate(pairwise(tiers)):
            over = hop(topology, condition, near, far)
            crossing = {
                name: self.placing.crossing_s(name, over)
                for name in {name for cut in self.cuts for name in cut.names}
            }
            of_cut = np.array([sum(crossing[name] for name in cut.names) for cut in self.cuts])
            total += over.rtt_s + of_cut[place[:, at]]
        return total

    def fits(self, tiers: Sequence[str], topology: Topology) -> np.ndarray:
        """Whether the weights of every segment fit their tier."""
        place = np.array(self.places, dtype=np.int64).reshape(-1, len(tiers) - 1)
        done = [np.zeros(len(place))]
        done += [self.head_bytes[place[:, at]] for at in range(len(tiers) - 1)]
        done.append(np.full(len(place), sum(self.placing.weight_bytes.values())))
        fits = np.ones(len(place), dtype=bool)
        for tier, (before, after) in zip(tiers, pairwise(done), strict=True):
            limit = topology.tier(tier).memory_bytes
            if limit is not None:
                fits &= after - before <= limit
        return fits


def _up_to(graph: Graph, cuts: Sequence[Cut], of_node: Mapping[str, float]) -> np.ndarray:
    """The sum of ``of_node`` over the head of every cut."""
    names = [name_of(node) for node in graph.data_nodes]
    sums = dict(zip(names, accumulate(of_node.get(name, 0) for name in names), strict=True))
    return np.array([sums[cut.behind] for cut in cuts], dtype=np.float64)
