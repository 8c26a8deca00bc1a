"""The cheapest placement without memory limits: one minimum cut.

For every node and link there is a variable "this node lies beyond this link", monotone along the
links and along the data. A tensor has a variable on a link that several nodes read it beyond, so
that it pays once; a link has one that says whether anything lies beyond it.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tierwise.predict.costs import PlacementCosts
from tierwise.predict.dataflow import DataFlow
from tierwise.predict.mincut import BinaryCosts


def minimum(
    flow: DataFlow,
    costs: PlacementCosts,
    stay: frozenset[str] = frozenset(),
    fixed: Mapping[tuple[str, int], int] | None = None,
    at_most: float = math.inf,
) -> tuple[dict[str, int], float] | None:
    """Tiers of the cheapest placement by one minimum cut, and the resolution; memory not looked at.

    Args:
        flow: What to place.
        costs: What it costs.
        stay: Tensors that must not cross any link.
        fixed: By node and link, whether the node lies beyond the link.
        at_most: See :meth:`~tierwise.predict.mincut.BinaryCosts.minimise`.

    Returns:
        ``None`` where everything is forbidden.
    """
    links = range(costs.tiers - 1)
    problem = BinaryCosts()
    beyond = {node: [problem.add_variable() for _ in links] for node in flow.nodes}
    used = [problem.add_variable() for _ in links]
    for node, variables in beyond.items():
        _add_node(problem, variables, costs.compute_s[node])
        for link in links:
            problem.implies(variables[link], used[link])
    for link in links:
        problem.if_one(used[link], costs.round_trip_s[link])
        for tensor in flow.tensors:
            transfer_s = math.inf if tensor.name in stay else costs.transfer_s[tensor.name][link]
            made = None if tensor.producer is None else beyond[tensor.producer][link]
            read = [beyond[reader][link] for reader in tensor.readers]
            if tensor.output and costs.forward_outputs:
                read.append(used[link])
            _add_tensor(problem, made, read, transfer_s)
            if tensor.output and tensor.name in costs.return_s:
                back_from = used[link] if costs.forward_outputs else made
                if back_from is not None:
                    problem.if_one(back_from, costs.return_s[tensor.name][link])
    for (node, link), value in (fixed or {}).items():
        problem.must_be(beyond[node][link], value)
    found = problem.minimise(at_most)
    if found is None:
        return None
    values, resolution_s = found
    return {node: int(values[v].sum()) for node, v in beyond.items()}, resolution_s


def _add_node(problem: BinaryCosts, beyond: Sequence[int], compute_s: Sequence[float]) -> None:
    """The node is on tier t where it lies beyond link t - 1 and not beyond link t."""
    chain = [None, *beyond, None]
    for tier, cost in enumerate(compute_s):
        problem.if_one_and_zero(chain[tier], chain[tier + 1], cost)
    for nearer, farther in pairwise(beyond):
        problem.implies(farther, nearer)


def _add_tensor(
    problem: BinaryCosts, made: int | None, read: Sequence[int], transfer_s: float
) -> None:
    """A tensor crosses a link once where it is made before it and read beyond it."""
    if not read:
        return
    for reader in read:
        # Data goes one way: whoever reads a tensor is not before whoever makes it.
        if made is not None:
            problem.implies(made, reader)
    if transfer_s == 0:
        return
    if len(read) == 1:
        problem.if_one_and_zero(read[0], made, transfer_s)
        return
    crosses = problem.add_variable()
    for reader in read:
        problem.implies(reader, crosses)
    problem.if_one_and_zero(crosses, made, transfer_s)
