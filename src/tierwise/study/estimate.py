"""How long a study will take, told before anything is run."""

from collections.abc import Sequence

from tierwise.operators.strategy import Operator
from tierwise.store.results import unlimited
from tierwise.study.cut_choice import predict_whole_s
from tierwise.study.file import StudyFile
from tierwise.study.placements import placements
from tierwise.study.subject import Subject
from tierwise.study.workload import HEADER_BYTES, Workload, payload_bytes
from tierwise.tiers.topology import NetworkCondition, Topology

# heuristic: multiply-accumulates a second of one core, for an estimate before anything ran; a
# residual CNN in fp32 does 15-25 G on AVX2.
_MACS_PER_S = 10e9
# Of each strategy in the profile: blocks and warm-up.
PROFILE_REQUESTS = 13
# heuristic: conditions of a sweep in which nothing is settled yet.
_ALONE = 4


def estimate_s(
    study: StudyFile, subject: Subject, topology: Topology, conditions: Sequence[NetworkCondition]
) -> float:
    """Rough time of a whole run, from the model's size alone; nothing is run for it."""
    one_s = subject.graph.macs / _MACS_PER_S
    sent = payload_bytes(subject.evaluation.payload(0))
    workload = Workload(one_s, sent + HEADER_BYTES, HEADER_BYTES)
    grid = placements(study.operators.chosen, topology, study.operators.partition.most_tiers)
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
    sending_s = sum(sum(times_s) for times_s in by_condition)
    variants = {placement.operator.variant for placement in grid}
    looking_s = len(variants) * (len(subject.evaluation) + 4 * len(subject.calibration)) * one_s
    quantized = sum(operator.quantizes for operator in variants)
    quantizing_s = study.operators.quantize.budget_s / 4 * quantized
    # A float variant's boundary may be evaluated once more for every pair of tiers.
    pairs = {p.tiers for p in grid if p.operator in {Operator.P, Operator.EP}}
    floats = sum(not operator.quantizes for operator in variants)
    if study.operators.partition.encode == "auto":
        looking_s += len(pairs) * floats * len(subject.evaluation) * one_s
    # heuristic: agents start in some seconds; probes take 2 s a link and condition.
    fixed_s = 10.0 + 2.0 * len(topology.links) * len(conditions)
    return profiling_s + requests * sending_s + looking_s + quantizing_s + fixed_s
