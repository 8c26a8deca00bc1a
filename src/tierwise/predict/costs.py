"""What a placement costs, what it must keep to, and what it is: data, and the sum itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tierwise.predict.dataflow import DataFlow


@dataclass(frozen=True)
class PlacementCosts:
    """What a placement costs, in seconds of one request's latency.

    Attributes:
        compute_s: By node, on every tier; ``inf`` where a tier cannot run it.
        transfer_s: By tensor, on every link: bytes over bandwidth, plus encoding and decoding;
            ``inf`` for a tensor that cannot be sent.
        round_trip_s: Of every link, paid once if anything lies beyond it.
        return_s: By output tensor, on every link: its way back towards the first tier.
        forward_outputs: How outputs travel that are ready before the last tier. ``True``: they
            go on to the last tier and come back with its reply, as chained segments do (bytes in
            both directions). ``False``: their producer sends them back.
    """

    compute_s: Mapping[str, Sequence[float]]
    transfer_s: Mapping[str, Sequence[float]]
    round_trip_s: Sequence[float]
    return_s: Mapping[str, Sequence[float]] = field(default_factory=dict)
    forward_outputs: bool = True

    @property
    def tiers(self) -> int:
        """Number of tiers."""
        return len(self.round_trip_s) + 1


@dataclass(frozen=True)
class PlacementLimits:
    """What a placement must keep to.

    Attributes:
        stay: Tensors that must not leave the first tier, from
            :func:`~tierwise.predict.placement.raw_inputs` or
            :func:`~tierwise.predict.placement.until`.
        memory_bytes: By node: what it holds wherever it runs (weights, mostly).
        most_bytes: The most that each tier may hold, ``None`` for no limit; empty: no limits.
    """

    stay: frozenset[str] = frozenset()
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    most_bytes: Sequence[int | None] = ()


@dataclass(frozen=True)
class Placement:
    """A placement and how good it is.

    Attributes:
        tier_of: Index of the tier of every node.
        latency_s: What it costs, computed without rounding.
        bound_s: No placement costs less than this.
        proven_optimal: Whether ``bound_s`` reaches ``latency_s`` (but for the resolution).
        resolution_s: To what costs were rounded: the minimum cut works on integers.
    """

    tier_of: Mapping[str, int]
    latency_s: float
    bound_s: float
    proven_optimal: bool
    resolution_s: float


def latency_s(flow: DataFlow, costs: PlacementCosts, tier_of: Mapping[str, int]) -> float:
    """What a placement costs, summed up directly from its definition."""
    last = max(tier_of.values(), default=0)
    total = sum(costs.compute_s[node][tier_of[node]] for node in flow.nodes)
    total += sum(costs.round_trip_s[:last])
    for tensor in flow.tensors:
        at = 0 if tensor.producer is None else tier_of[tensor.producer]
        farthest = max((tier_of[reader] for reader in tensor.readers), default=0)
        back_from = at
        if tensor.output and costs.forward_outputs:
            farthest = back_from = last
        total += sum(costs.transfer_s[tensor.name][at:farthest])
        if tensor.output and tensor.name in costs.return_s:
            total += sum(costs.return_s[tensor.name][:back_from])
    return total
