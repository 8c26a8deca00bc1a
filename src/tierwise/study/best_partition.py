"""The best way to run one model over a study's tiers under one network: any of them, any cuts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from tierwise.data.source import Dataset
from tierwise.errors import CutError, RequirementNotMet
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut
from tierwise.predict.dataflow import placement_cuts
from tierwise.predict.placement import best_placement
from tierwise.quality.task import Task
from tierwise.study.boundaries import BoundaryChooser, Encodings
from tierwise.study.cut_choice import ChosenCuts
from tierwise.study.placing import Placing, around_s
from tierwise.study.sections.operators import PartitionOptions
from tierwise.study.workload import measure_workload
from tierwise.tiers.topology import NetworkCondition, Topology

# heuristic: how often placements are chosen anew because an encoding that they counted on lost too
# much; each time at least one tensor's is struck off.
_MOST_ROUNDS = 4


@dataclass(frozen=True)
class BestPartition:
    """Where a model is cut and which tiers run it.

    Attributes:
        tiers: Of every segment, nearest to the user first; one where cutting does not pay.
        cuts: Between them.
        encodings: How tensors cross, one entry for each cut (or none: all as they are).
        latency_s: What is predicted of a request.
        bound_s: No placement is predicted to take less.
        proven_optimal: Whether ``bound_s`` reaches ``latency_s``, but for ``resolution_s``.
        resolution_s: To what costs were rounded.
    """

    tiers: tuple[str, ...]
    cuts: tuple[Cut, ...]
    encodings: Encodings
    latency_s: float
    bound_s: float
    proven_optimal: bool
    resolution_s: float


@dataclass(frozen=True)
class _Found:
    tiers: tuple[str, ...]
    cuts: tuple[Cut, ...]
    latency_s: float


def best_partition(
    graph: Graph,
    topology: Topology,
    condition: NetworkCondition,
    options: PartitionOptions,
    *,
    calibration: Dataset,
    evaluation: Dataset,
    task: Task,
    seed: int = 0,
    most_tiers: int | None = None,
) -> BestPartition:
    """The cheapest placement of ``graph`` on any of the tiers, by one minimum cut for each set.

    For every set of tiers that could have work, the links between them are one, so that tensors
    are encoded once however many links they cross; the cheapest of these optima is the optimum.

    Args:
        graph: The model.
        topology: The tiers; requests start at the first.
        condition: The network.
        options: Encodings, their quality budget, and privacy.
        calibration: What encodings are fitted to and judged on.
        evaluation: Gives the request that is weighed and timed.
        task: What the outputs mean.
        seed: Draws what fits and what judges.
        most_tiers: The most that may get work; ``None``: all.

    Raises:
        RequirementNotMet: no placement keeps to the tiers' memory and to what must stay.
        CutError: there is no node to keep on the first tier until.
    """
    workload = measure_workload(
        graph.model, graph, evaluation, calibration, task, encode=options.encode == "auto"
    )
    placing = Placing(graph, workload, options.kept_near)
    chooser = BoundaryChooser(graph, placing, calibration, task, options.max_loss, seed)
    for _ in range(_MOST_ROUNDS):
        found, bound_s, resolution_s = _search(
            chooser.placing, topology, condition, most_tiers or len(topology.names)
        )
        chosen = ChosenCuts(found.cuts, (found.latency_s,))
        encodings, too_lossy = chooser.encode(chosen, found.tiers, topology, [condition])
        if not too_lossy - chooser.placing.forbidden:
            break
        chooser.placing = replace(chooser.placing, forbidden=chooser.placing.forbidden | too_lossy)
    return BestPartition(
        tiers=found.tiers,
        cuts=found.cuts,
        encodings=encodings,
        latency_s=found.latency_s,
        bound_s=bound_s,
        proven_optimal=found.latency_s - bound_s <= max(resolution_s, 1e-6 * found.latency_s),
        resolution_s=resolution_s,
    )


def _search(
    placing: Placing, topology: Topology, condition: NetworkCondition, most_tiers: int
) -> tuple[_Found, float, float]:
    """The best over all sets of tiers, a bound for all, and the coarsest resolution."""
    best: _Found | None = None
    bound_s, resolution_s = float("inf"), 0.0
    problems: list[str] = []
    for tiers in _sets_of_tiers(topology.names, most_tiers, private=bool(placing.private)):
        costs = placing.costs(tiers, topology, condition)
        around = around_s(topology, condition, tiers[:1], placing.workload)
        try:
            placed = best_placement(placing.flow, costs, placing.limits(tiers, topology))
        except RequirementNotMet as error:
            problems.append(f"{'-'.join(tiers)}: {error.message}")
            continue
        bound_s = min(bound_s, around + placed.bound_s)
        resolution_s = max(resolution_s, placed.resolution_s)
        if best is not None and around + placed.latency_s >= best.latency_s:
            continue
        try:
            used, cuts = placement_cuts(placing.graph, placing.flow, placed.tier_of)
        except CutError as error:
            problems.append(f"{'-'.join(tiers)}: {error.message}")
            continue
        best = _Found(tuple(tiers[at] for at in used), cuts, around + placed.latency_s)
    if best is None:
        raise RequirementNotMet(
            f"The model fits no placement: {'; '.join(problems[:3])}",
            hint="Raise a tier's `memory:`, quantize the model, or let more leave the first tier.",
        )
    return best, bound_s, resolution_s


def _sets_of_tiers(names: Sequence[str], most: int, *, private: bool) -> list[tuple[str, ...]]:
    """Every set of tiers in their order, small ones first; with privacy those with the first."""
    return [
        tiers
        for count in range(1, most + 1)
        for tiers in combinations(names, count)
        if not private or tiers[0] == names[0]
    ]
