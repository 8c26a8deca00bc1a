"""A variant on a chain of tiers as a placement problem: what computing and crossing cost there.

Seconds of this machine, scaled by the share of a core that a tier has; bytes over the bandwidth of
the slowest link between two tiers; encoding on the one side and decoding on the other. It ranks
placements; the latency that is reported is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from tierwise.errors import CutError
from tierwise.graph.analysis import WIRE_DTYPES, Graph, name_of
from tierwise.operators.encoding import EncodingCost
from tierwise.predict.costs import PlacementCosts, PlacementLimits
from tierwise.predict.dataflow import DataFlow, data_flow
from tierwise.predict.placement import raw_inputs, until
from tierwise.study.workload import Workload
from tierwise.tiers.topology import NetworkCondition, Tier, Topology

RAW_INPUT = "raw-input"
"""Privacy: the model's own input never leaves the first tier."""


@dataclass(frozen=True)
class Hop:
    """From one tier of a chain to the next one, under a condition.

    Attributes:
        seconds_per_bit: Of the slowest link between them, which sets the pace of the packets; 0
            where none is shaped.
        rtt_s: Of all links between them.
        encode_factor: How much longer the near tier takes to encode than this machine.
        decode_factor: How much longer the far one takes to decode.
    """

    seconds_per_bit: float
    rtt_s: float = 0.0
    encode_factor: float = 1.0
    decode_factor: float = 1.0

    def crossing_s(self, cost: EncodingCost) -> float:
        """Time to encode, send and decode, without the round trip."""
        return (
            self.encode_factor * cost.encode_s
            + 8 * cost.wire_bytes * self.seconds_per_bit
            + self.decode_factor * cost.decode_s
        )


def slowdown(tier: Tier) -> float:
    """How much longer ``tier`` computes than one core here; of a real tier nothing is known: 1."""
    # heuristic: threads above one share of a core do not help a small inference.
    return 1 / min(1.0, tier.cpus or 1.0)


def hop(topology: Topology, condition: NetworkCondition, near: str, far: str) -> Hop:
    """From ``near`` to ``far`` over every link between them."""
    shapes = [condition.shapes[link.name] for link in topology.path(near, far)]
    return Hop(
        seconds_per_bit=max(
            (
                1 / shape.bandwidth_bit_per_s
                for shape in shapes
                if shape.bandwidth_bit_per_s is not None
            ),
            default=0.0,
        ),
        rtt_s=sum(shape.rtt_s for shape in shapes),
        encode_factor=slowdown(topology.tier(near)),
        decode_factor=slowdown(topology.tier(far)),
    )


def around_s(
    topology: Topology, condition: NetworkCondition, tiers: Sequence[str], workload: Workload
) -> float:
    """The request from the user to the first of ``tiers``, and the reply from the last one back."""
    there = hop(topology, condition, topology.names[0], tiers[0])
    way = (topology.names[0], *tiers)
    # The answer goes back the way that the request came; its round trips are paid there already.
    back = sum(hop(topology, condition, a, b).seconds_per_bit for a, b in pairwise(way))
    sent_s = 8 * workload.request_bytes * there.seconds_per_bit
    return there.rtt_s + sent_s + 8 * workload.reply_bytes * back


@dataclass(frozen=True)
class Placing:
    """What a variant's placements are made of, whatever the tiers and the network.

    Attributes:
        graph: The variant.
        workload: What a request of it costs.
        private: What must not leave the first tier: ``""``, :data:`RAW_INPUT`, or a node or
            tensor before which nothing may.
        forbidden: Ways of crossing that turned out to lose too much: a tensor and its encoding's
            kind.
    """

    graph: Graph
    workload: Workload
    private: str = ""
    forbidden: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def flow(self) -> DataFlow:
        """Its nodes and tensors, as the solver sees them."""
        return data_flow(self.graph)

    @cached_property
    def node_s(self) -> Mapping[str, float]:
        """Seconds of every node of :attr:`flow` here; nodes computed where read are part of it."""
        own = self.workload.node_s or by_macs(self.graph, self.workload.compute_s)
        found = {name: own[name] for name in self.flow.nodes}
        for name, reader in self.flow.absorbed.items():
            found[reader] += own[name]
        return found

    @cached_property
    def weight_bytes(self) -> Mapping[str, int]:
        """Bytes of the weights that every node of :attr:`flow` is the first to read."""
        own = weights_by_node(self.graph)
        found = {name: own.get(name, 0) for name in self.flow.nodes}
        for name, reader in self.flow.absorbed.items():
            found[reader] += own.get(name, 0)
        return found

    @cached_property
    def stay(self) -> frozenset[str]:
        """Tensors that must not leave the first tier.

        Raises:
            CutError: the variant has no node or tensor of that name.
        """
        if not self.private:
            return frozenset()
        if self.private == RAW_INPUT:
            return raw_inputs(self.flow)
        return until(self.flow, self._private_node())

    def _private_node(self) -> str:
        named = self.private
        for node in self.graph.data_nodes:
            if named in {node.name, *(value.name for value in node.outputs)}:
                name = name_of(node)
                return self.flow.absorbed.get(name, name)
        raise CutError(
            f"There is no node or tensor '{named}' that depends on the input, so nothing can be "
            "kept on the first tier until it.",
            hint=f"Name one of the model's nodes or tensors, or {RAW_INPUT}.",
            tensor=named,
        )

    def ways(self, name: str) -> tuple[EncodingCost, ...]:
        """How a tensor can cross; empty where no request can carry it."""
        info = self.graph.tensors.get(name)
        if info is None or info.dtype not in WIRE_DTYPES:
            return ()
        known = self.workload.crossing.get(name)
        if known is None:
            return (EncodingCost.plain(info.bytes),)
        return tuple(
            cost
            for cost in known
            if cost.encoding.lossless or (name, cost.encoding.kind.value) not in self.forbidden
        )

    def crossing_s(self, name: str, over: Hop) -> float:
        """The least time in which a tensor crosses; infinite where it must not or cannot."""
        if name in self.stay:
            return float("inf")
        return min((over.crossing_s(cost) for cost in self.ways(name)), default=float("inf"))

    def costs(
        self, tiers: Sequence[str], topology: Topology, condition: NetworkCondition
    ) -> PlacementCosts:
        """What the solver minimises for a chain of ``tiers``; see :func:`around_s` for the rest."""
        slow = [slowdown(topology.tier(tier)) for tier in tiers]
        hops = [hop(topology, condition, a, b) for a, b in pairwise(tiers)]
        # The whole reply is charged to one output: chained segments send all of them back at once.
        first = next(tensor.name for tensor in self.flow.tensors if tensor.output)
        reply_bits = 8 * self.workload.reply_bytes
        return PlacementCosts(
            compute_s={
                name: [seconds * factor for factor in slow] for name, seconds in self.node_s.items()
            },
            transfer_s={
                tensor.name: [self.crossing_s(tensor.name, one) for one in hops]
                for tensor in self.flow.tensors
            },
            round_trip_s=[one.rtt_s for one in hops],
            return_s={first: [reply_bits * one.seconds_per_bit for one in hops]},
        )

    def limits(self, tiers: Sequence[str], topology: Topology) -> PlacementLimits:
        """Privacy, and the tiers' memory where weights alone could be more than it."""
        most = [topology.tier(tier).memory_bytes for tier in tiers]
        total = sum(self.weight_bytes.values())
        if all(limit is None or limit >= total for limit in most):
            return PlacementLimits(stay=self.stay)
        return PlacementLimits(self.stay, self.weight_bytes, most)

    @cached_property
    def working(self) -> frozenset[str]:
        """The nodes that count as work: a tier that has none of them is not made use of."""
        macs = self.graph.node_macs
        found = frozenset(name for name in self.flow.nodes if macs[name] > 0)
        return found or frozenset(self.flow.nodes)


def by_macs(graph: Graph, total_s: float) -> dict[str, float]:
    """Seconds of every node by its multiply-accumulates, where nothing was profiled."""
    macs = {name_of(node): graph.node_macs[name_of(node)] for node in graph.data_nodes}
    total = sum(macs.values())
    if not total:
        return dict.fromkeys(macs, total_s / len(macs))
    return {name: total_s * count / total for name, count in macs.items()}


def weights_by_node(graph: Graph) -> dict[str, int]:
    """Bytes of weights by the first node, in canonical order, that needs them."""
    weights = {
        name: value.const_value.nbytes
        for name, value in graph.model.graph.initializers.items()
        if value.const_value is not None
    }
    needs = {name: {name} for name in weights}
    found: dict[str, int] = {}
    taken: set[str] = set()
    for node in graph.nodes:
        read = {one for value in graph.reads(node) for one in needs.get(name_of(value), ())}
        if all(name_of(value) in graph.from_weights for value in node.outputs if value.name):
            for value in node.outputs:
                if value.name:
                    needs[value.name] = read
            continue
        found[name_of(node)] = sum(weights[name] for name in read - taken)
        taken |= read
    return found
