"""Where to cut a variant for a pair of tiers: a scan over all cuts with a simple latency model.

The model: compute time of each side by its share of the variant's time on this machine, scaled by
the tier's CPU share; bytes over the bandwidth of every link crossed; round trips. It ranks cuts;
the latency that is reported is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tierwise.errors import CutError
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut, list_cuts
from tierwise.tiers.topology import NetworkCondition, Tier, Topology


@dataclass(frozen=True)
class Workload:
    """What a request of a variant costs, apart from where it is cut.

    Attributes:
        compute_s: One inference on one unlimited core of this machine.
        request_bytes: What the user's device sends where the first segment is not on it.
        reply_bytes: What comes back.
    """

    compute_s: float
    request_bytes: int
    reply_bytes: int


@dataclass(frozen=True)
class ChosenCut:
    """A cut and what the model says of it.

    Attributes:
        cut: The choice.
        predicted_s: Latency under each condition, in their order.
        regret: Mean over the conditions of how much slower it is predicted to be than the best
            cut of that condition, as a share.
    """

    cut: Cut
    predicted_s: tuple[float, ...]
    regret: float


def choose_cut(
    graph: Graph,
    tiers: tuple[str, str],
    topology: Topology,
    conditions: Sequence[NetworkCondition],
    workload: Workload,
) -> ChosenCut:
    """The cut for a pair of tiers: of all, the one with the least mean regret over the conditions.

    One cut serves the whole sweep, so that a strategy is the same deployment under every network
    and its latencies can be compared; under a single condition it is the predicted optimum.

    Raises:
        CutError: the graph cannot be cut with work on both sides.
    """
    cuts = [cut for cut in list_cuts(graph) if cut.head_macs > 0 and cut.tail_macs > 0]
    if not cuts:
        raise CutError(
            "The model cannot be cut with work on both sides.",
            hint="Leave P, QP, EP and QEP out of `operators`.",
        )
    predicted_s = np.array(
        [
            [predict_s(cut, tiers, topology, condition, workload) for condition in conditions]
            for cut in cuts
        ]
    )
    regret = (predicted_s / predicted_s.min(axis=0) - 1).mean(axis=1)
    best = int(np.argmin(regret))
    return ChosenCut(
        cuts[best], tuple(float(value) for value in predicted_s[best]), float(regret[best])
    )


def predict_s(
    cut: Cut,
    tiers: tuple[str, str],
    topology: Topology,
    condition: NetworkCondition,
    workload: Workload,
) -> float:
    """Latency of one request that is cut here, from the first tier and back to it."""
    share = cut.head_macs / (cut.head_macs + cut.tail_macs)
    start = topology.names[0]
    head, tail = tiers
    return (
        transfer_s(topology, condition, start, head, workload.request_bytes)
        + compute_s(topology.tier(head), share * workload.compute_s)
        + transfer_s(topology, condition, head, tail, cut.wire_bytes)
        + compute_s(topology.tier(tail), (1 - share) * workload.compute_s)
        # The answer goes back the way that the request came.
        + _way_back_s(topology, condition, (start, head, tail), workload.reply_bytes)
    )


def predict_whole_s(
    tier: str, topology: Topology, condition: NetworkCondition, workload: Workload
) -> float:
    """Latency of one request that runs on a single tier."""
    start = topology.names[0]
    return (
        transfer_s(topology, condition, start, tier, workload.request_bytes)
        + compute_s(topology.tier(tier), workload.compute_s)
        + _way_back_s(topology, condition, (start, tier), workload.reply_bytes)
    )


def compute_s(tier: Tier, one_core_s: float) -> float:
    """``one_core_s`` of this machine on ``tier``; a real tier's speed is not known, so 1."""
    # heuristic: threads above one share of a core do not help a small inference.
    return one_core_s / min(1.0, tier.cpus or 1.0)


def transfer_s(
    topology: Topology, condition: NetworkCondition, source: str, target: str, size_bytes: int
) -> float:
    """A round trip and the bytes over every link between; 0 where both are the same tier."""
    total_s = 0.0
    for link in topology.path(source, target):
        shape = condition.shapes[link.name]
        rate = shape.bandwidth_bit_per_s
        total_s += shape.rtt_s + (0.0 if rate is None else 8 * size_bytes / rate)
    return total_s


def _way_back_s(
    topology: Topology, condition: NetworkCondition, way: Sequence[str], size_bytes: int
) -> float:
    # The round trip is already paid on the way there; only the bytes are left.
    total_s = 0.0
    for source, target in pairwise(way):
        for link in topology.path(source, target):
            rate = condition.shapes[link.name].bandwidth_bit_per_s
            total_s += 0.0 if rate is None else 8 * size_bytes / rate
    return total_s
