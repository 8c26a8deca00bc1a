"""How long a study will take, told after a few inferences and before anything else is run."""

from collections.abc import Sequence

from tierwise.graph.blocks import exit_candidates
from tierwise.operators.quantize import comparing_s, recipes_named
from tierwise.operators.strategy import Operator
from tierwise.store.results import unlimited
from tierwise.study.file import StudyFile
from tierwise.study.placements import Placement, placements
from tierwise.study.placing import around_s, slowdown
from tierwise.study.subject import Subject
from tierwise.study.workload import HEADER_BYTES, Workload, payload_bytes, time_inference
from tierwise.tiers.topology import NetworkCondition, Topology

# Multiply-accumulates tell little of the time: a residual CNN in fp32 does 15 to 25 G a second on
# a core with AVX2 and 70 G with AVX-512, depthwise convolutions a fraction of that.
_TIMED_RUNS, _WARM_RUNS = 3, 1
# Of each strategy in the profile: blocks and warm-up.
PROFILE_REQUESTS = 13
# heuristic: to build a recipe, and more of it by weights: 0.2 s for 2.5 MiB, 0.6 s for 22 MiB; a
# pair is an inference in fp32 and one of a recipe, which on average takes nine tenths of that.
_RECIPE_S, _RECIPE_S_PER_MIB, _PAIR = 0.2, 0.02, 1.9
# heuristic: of the sets of blocks that a lazy greedy search tries, each is a model to be opened.
_SETS_A_BLOCK, _SEARCH_INPUTS = 2, 32
_OPENING_S, _OPENING_S_PER_MIB = 0.05, 0.005
# heuristic: conditions of a sweep in which nothing is settled yet.
_ALONE = 4


def estimate_s(
    study: StudyFile, subject: Subject, topology: Topology, conditions: Sequence[NetworkCondition]
) -> float:
    """Rough time of a whole run, from the time of one inference on this machine."""
    one_s, _ = time_inference(
        subject.path, subject.evaluation.feeds(0), runs=_TIMED_RUNS, warm_up=_WARM_RUNS
    )
    sent = payload_bytes(subject.evaluation.payload(0))
    workload = Workload(one_s, sent + HEADER_BYTES, HEADER_BYTES)
    grid = placements(study.operators.chosen, topology, study.operators.partition.most_tiers)
    # heuristic: agents start in some seconds; probes take 2 s a link and condition.
    fixed_s = 10.0 + 2.0 * len(topology.links) * len(conditions)
    return (
        _building_s(study, subject, grid, one_s)
        + _evaluating_s(study, subject, grid, one_s)
        + _measuring_s(study, workload, grid, topology, conditions)
        + fixed_s
    )


def _measuring_s(
    study: StudyFile,
    workload: Workload,
    grid: Sequence[Placement],
    topology: Topology,
    conditions: Sequence[NetworkCondition],
) -> float:
    """Of all requests: the profile's, and those under each condition."""
    plan = study.measure.plan()
    requests = (plan.min_blocks + plan.min_warmup_blocks) * plan.requests_per_visit
    # The last of the tiers stands for all of a placement: what crosses is not known before.
    by_condition = [
        sorted(
            predict_whole_s(placement.tiers[-1], topology, condition, workload)
            for placement in grid
        )
        for condition in conditions
    ]
    profiling_s = 0.0
    if study.measure.strategies == "chosen":
        # heuristic: of what is predicted a quarter is near enough to be measured, and two of it
        # have to be measured four times as long to be told apart, until others have settled that.
        profiling_s = PROFILE_REQUESTS * sum(
            predict_whole_s(placement.tiers[-1], topology, unlimited(topology), workload)
            for placement in grid
        )
        by_condition = [
            times_s[: max(4, len(times_s) // 4)] + (3 * times_s[:2] if number < _ALONE else [])
            for number, times_s in enumerate(by_condition)
        ]
    return profiling_s + requests * sum(sum(times_s) for times_s in by_condition)


def predict_whole_s(
    tier: str, topology: Topology, condition: NetworkCondition, workload: Workload
) -> float:
    """Latency of a request that runs on a single tier."""
    around = around_s(topology, condition, (tier,), workload)
    return around + slowdown(topology.tier(tier)) * workload.compute_s


def _building_s(
    study: StudyFile, subject: Subject, grid: Sequence[Placement], one_s: float
) -> float:
    """Of the variants: recipes built and timed, and sets of blocks tried."""
    variants = {placement.operator.variant for placement in grid}
    weights_mib = subject.graph.weight_bytes / 2**20
    options = study.operators.quantize
    recipes = len(recipes_named(options.recipe, options.backend))
    recipe_s = _RECIPE_S + _RECIPE_S_PER_MIB * weights_mib + comparing_s(_PAIR * one_s)
    quantized = sum(operator.quantizes for operator in variants)
    quantizing_s = quantized * max(recipe_s, min(recipes * recipe_s, options.budget_s))
    if Operator.E not in variants and Operator.QE not in variants:
        return quantizing_s
    tried = _SETS_A_BLOCK * len(exit_candidates(subject.graph))
    opening_s = _OPENING_S + _OPENING_S_PER_MIB * weights_mib
    inputs = min(len(subject.calibration) // 2, _SEARCH_INPUTS)
    return quantizing_s + tried * (opening_s + inputs * one_s)


def _evaluating_s(
    study: StudyFile, subject: Subject, grid: Sequence[Placement], one_s: float
) -> float:
    """Of the variants' quality, and of boundaries that lose some."""
    variants = {placement.operator.variant for placement in grid}
    evaluations = len(variants)
    if study.operators.partition.encode == "auto":
        # A float variant's boundary may be evaluated once more for every pair of tiers.
        pairs = {p.tiers for p in grid if p.operator in {Operator.P, Operator.EP}}
        evaluations += len(pairs) * sum(not operator.quantizes for operator in variants)
    return evaluations * len(subject.evaluation) * one_s
