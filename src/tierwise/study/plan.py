"""From placements to trials: cuts chosen, latencies predicted, and how long measuring will take."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tierwise.data.source import Dataset
from tierwise.errors import CutError
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut, find_cut
from tierwise.operators.strategy import Operator, Strategy
from tierwise.progress import SILENT, Progress
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.store.results import TrialState, unlimited
from tierwise.store.write import PlannedTrial, StudyStore
from tierwise.study.cut_choice import Workload, choose_cut, predict_s, predict_whole_s
from tierwise.study.file import StudyFile
from tierwise.study.left_out import same_as_others, slower_than_fp32
from tierwise.study.placements import Placement, placements
from tierwise.study.segments import make_segments, postprocess_for
from tierwise.study.subject import Subject
from tierwise.study.variants import StoredVariant
from tierwise.tiers.topology import NetworkCondition, Topology
from tierwise.units import format_bytes

# heuristic: what HTTP and the protocol's JSON add to a request or reply. A request of one tensor of
# 602,112 bytes was 602,509 bytes on the wire; pre-processing, tokens and more tensors add to that.
HEADER_BYTES = 600
_TIMED_RUNS, _WARM_RUNS = 9, 3
# Of each strategy in the profile: blocks and warm-up.
PROFILE_REQUESTS = 13
# heuristic: multiply-accumulates a second of one core, for an estimate before anything ran; a
# residual CNN in fp32 does 15-25 G on AVX2.
_MACS_PER_S = 10e9


@dataclass(frozen=True)
class PlannedStrategy:
    """A strategy with its cut, and what is expected of it.

    Attributes:
        strategy: What runs, where.
        predicted_s: Latency under each condition, in their order; empty where it is left out.
        state: ``PENDING``; or ``DOES_NOT_FIT`` or ``LEFT_OUT``, where that is known already.
        reason: Why, in words.
    """

    strategy: Strategy
    predicted_s: tuple[float, ...]
    state: TrialState = TrialState.PENDING
    reason: str = ""


def plan_trials(
    study: StudyFile,
    subject: Subject,
    topology: Topology,
    conditions: Sequence[NetworkCondition],
    variants: Mapping[Operator, StoredVariant],
    *,
    store: StudyStore,
    progress: Progress = SILENT,
) -> tuple[PlannedStrategy, ...]:
    """Choose the cuts and keep the trials in the store.

    Raises:
        CutError: the named cut does not separate the graph, or it cannot be cut at all.
        DiskFull: no space is left for the segments.
    """
    grid = placements(study.operators.chosen, topology)
    left_out = same_as_others(study.operators.chosen, variants)
    slower = slower_than_fp32(store.results().warnings)

    def why_not(one: Placement) -> str:
        return left_out.get(one.operator) or slower.get(one.id, "")

    wanted = [one for one in grid if not why_not(one)]
    workloads: dict[Operator, Workload] = {}
    planned = []
    with progress.task("Choosing cuts", len(wanted)) as task:
        for placement in wanted:
            variant = variants[placement.operator.variant]
            if placement.operator.variant not in workloads:
                workloads[placement.operator.variant] = measure_workload(
                    variant, subject.evaluation, study.task
                )
            workload = workloads[placement.operator.variant]
            one = _plan_one(
                study,
                placement,
                topology,
                conditions,
                original=subject.graph,
                variant=variant,
                workload=workload,
            )
            planned.append(_check_size(one, variant, topology, store))
            task.advance(note=one.strategy.id)
    for placement in grid:
        if reason := why_not(placement):
            operator = placement.operator
            strategy = Strategy(operator, operator.variant.value, placement.tiers)
            planned.append(PlannedStrategy(strategy, (), TrialState.LEFT_OUT, reason))
    store.set_trials(
        [
            PlannedTrial(one.strategy, condition, one.state, one.reason)
            for condition in conditions
            for one in planned
        ]
    )
    return tuple(planned)


def _plan_one(
    study: StudyFile,
    placement: Placement,
    topology: Topology,
    conditions: Sequence[NetworkCondition],
    *,
    original: Graph,
    variant: StoredVariant,
    workload: Workload,
) -> PlannedStrategy:
    tiers = placement.tiers
    if len(tiers) == 1:
        strategy = Strategy(placement.operator, variant.record.name, tiers)
        predicted = [predict_whole_s(tiers[0], topology, c, workload) for c in conditions]
        return PlannedStrategy(strategy, tuple(predicted))
    pair = (tiers[0], tiers[1])
    cut: Cut
    if study.operators.partition.cut == "auto":
        chosen = choose_cut(variant.graph, pair, topology, conditions, workload)
        cut, predicted_s = chosen.cut, chosen.predicted_s
    else:
        cut = named_cut(study.operators.partition.cut, original, variant.graph)
        predicted_s = tuple(predict_s(cut, pair, topology, c, workload) for c in conditions)
    strategy = Strategy(placement.operator, variant.record.name, tiers, (cut.id,))
    return PlannedStrategy(strategy, predicted_s)


def named_cut(name: str, original: Graph, graph: Graph) -> Cut:
    """The cut called ``name`` in a variant's ``graph``.

    Where quantizing or an exit took its tensors away, the variant's cut at the same share of the
    work stands for it.

    Raises:
        CutError: the original has no such cut.
    """
    wanted = find_cut(original, name)
    try:
        return find_cut(graph, name)
    except CutError:
        return find_cut(graph, wanted.head_macs / (wanted.head_macs + wanted.tail_macs))


def check_named_cut(study: StudyFile, subject: Subject) -> None:
    """Refuse a cut that the model does not have before anything is built.

    Raises:
        CutError: it does not separate the graph, or is not known.
    """
    if study.operators.partition.cut != "auto":
        find_cut(subject.graph, study.operators.partition.cut)


def _check_size(
    one: PlannedStrategy, variant: StoredVariant, topology: Topology, store: StudyStore
) -> PlannedStrategy:
    """A segment whose file is larger than its tier's memory needs no trial to be told off."""
    for segment in make_segments(one.strategy, variant, store.artefacts):
        limit = topology.tier(segment.tier).memory_bytes
        if limit is not None and segment.size_bytes > limit:
            reason = (
                f"{segment.tier}: the segment alone has {format_bytes(segment.size_bytes)} "
                f"of {format_bytes(limit)}"
            )
            return replace(one, state=TrialState.DOES_NOT_FIT, reason=reason)
    return one


def measure_workload(variant: StoredVariant, data: Dataset, task: str) -> Workload:
    """Time one inference of ``variant`` on one thread here, and weigh its request and reply."""
    feeds, payload = data.feeds(0), data.payload(0)
    with open_session(variant.path, SessionOptions(threads=1)) as session:
        times_s = []
        for run in range(_WARM_RUNS + _TIMED_RUNS):
            started_s = time.perf_counter()
            outputs = session.run(feeds)
            if run >= _WARM_RUNS:
                times_s.append(time.perf_counter() - started_s)
    sent = len(payload) if isinstance(payload, bytes) else sum(a.nbytes for a in payload.values())
    reply = sum(array.nbytes for array in postprocess_for(task).apply(outputs).values())
    return Workload(
        compute_s=float(np.median(times_s)),
        request_bytes=sent + HEADER_BYTES,
        reply_bytes=reply + HEADER_BYTES,
    )


def estimate_s(
    study: StudyFile, subject: Subject, topology: Topology, conditions: Sequence[NetworkCondition]
) -> float:
    """Rough time of a whole run, from the model's size alone; nothing is run for it."""
    payload = subject.evaluation.payload(0)
    sent = len(payload) if isinstance(payload, bytes) else sum(a.nbytes for a in payload.values())
    one_s = subject.graph.macs / _MACS_PER_S
    workload = Workload(one_s, sent + HEADER_BYTES, HEADER_BYTES)
    grid = placements(study.operators.chosen, topology)
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
        # heuristic: of what is predicted a third is near enough to be measured, and two of it
        # have to be measured four times as long to be told apart.
        profiling_s = PROFILE_REQUESTS * sum(
            predict_whole_s(placement.tiers[-1], topology, unlimited(topology), workload)
            for placement in grid
        )
        by_condition = [
            times_s[: max(5, len(times_s) // 3)] + 3 * times_s[:2] for times_s in by_condition
        ]
    sending_s = sum(sum(times_s) for times_s in by_condition)
    variants = len({placement.operator.variant for placement in grid})
    looking_s = variants * (len(subject.evaluation) + 4 * len(subject.calibration)) * one_s
    quantizing_s = (
        study.operators.quantize.budget_s
        / 4
        * sum(
            operator in {Operator.Q, Operator.QE}
            for operator in {placement.operator.variant for placement in grid}
        )
    )
    # heuristic: agents start in some seconds; probes take 2 s a link and condition.
    fixed_s = 10.0 + 2.0 * len(topology.links) * len(conditions)
    return profiling_s + requests * sending_s + looking_s + quantizing_s + fixed_s
