"""Study results that nobody measured: for tests, and for looking at a report before a run.

Every number comes from a small formula and a seeded generator. The study's name and environment
say so, and the report shows it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tierwise.measure.cold_start import ColdStart
from tierwise.measure.machine import MachineState
from tierwise.measure.outcome import StopReason
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.sample import Timing
from tierwise.operators.strategy import Operator, Strategy
from tierwise.store.measured import BlockRecord, Measured
from tierwise.store.results import (
    ProbeFigure,
    QualityFigure,
    ResultWarning,
    StudyResults,
    TrialResult,
    TrialState,
    VariantRecord,
    WarningKind,
)
from tierwise.tiers.topology import Link, LinkShape, NetworkCondition, Tier, Topology
from tierwise.units import parse_bandwidth_bit_per_s

MADE_UP = "made up, not measured"

_TOPOLOGY = Topology(
    (
        Tier("mobile", cpus=0.5, memory_bytes=256 * 2**20),
        Tier("edge", cpus=1.0, memory_bytes=512 * 2**20),
        Tier("cloud", cpus=2.0, threads=2),
    )
)
# Seconds of the whole float model, and what each operator leaves of it.
_COMPUTE_S: Mapping[str, float] = {"mobile": 0.0310, "edge": 0.0150, "cloud": 0.0084}
_COMPUTE_SHARE = {"I": 1.0, "Q": 0.56, "E": 0.86, "QE": 0.49}
_QUALITY = {"I": 96.3, "Q": 96.1, "E": 94.9, "QE": 94.6}
_SIZE_BYTES = {"I": 1_180_000, "Q": 330_000, "E": 980_000, "QE": 275_000}
_IMAGE_BYTES = 2_400
_BOUNDARY_BYTES = {False: 65_536, True: 16_384}
_CUT = {False: "relu_9", True: "relu_9_q"}
_MAC = 41_000_000
_PROBES = (
    ProbeFigure("mobile", "cpu factor", 2.0, 2.06, MADE_UP),
    ProbeFigure("edge", "cpu factor", 1.0, 1.01, MADE_UP),
    ProbeFigure("mobile-edge", "bandwidth_bit_per_s", 200e6, 190.4e6, MADE_UP),
    ProbeFigure("edge-cloud", "bandwidth_bit_per_s", 50e6, 42.1e6, MADE_UP),
)


def made_up_results(
    *,
    seed: int = 0,
    blocks: int = 100,
    edge_cloud: Iterable[str] = ("50Mbit",),
    operators: Iterable[Operator] = tuple(Operator),
    labels: bool = True,
    does_not_fit: Iterable[str] = (),
    failed: Iterable[str] = (),
    predicted: Iterable[str] = (),
    slow_int8: bool = False,
    requirement: Mapping[str, str] | None = None,
    name: str = f"digits ({MADE_UP})",
) -> StudyResults:
    """A finished study over three tiers, the same for the same arguments.

    Args:
        seed: Of the noise.
        blocks: Samples of every trial (one a block); 0 for a study that is not measured yet.
        edge_cloud: Bandwidths of the edge-cloud link: the sweep.
        operators: Which of them were planned.
        labels: Whether quality comes from labels; otherwise from agreement with the original.
        does_not_fit: Ids of strategies that a tier cannot hold.
        failed: Ids of strategies whose trial failed.
        predicted: Ids of strategies that were predicted and not measured.
        slow_int8: Whether INT8 is slower than float here.
        requirement: The study file's ``require:`` section.
        name: The study's name.
    """
    rng = np.random.default_rng(seed)
    share = dict(_COMPUTE_SHARE)
    if slow_int8:
        share |= {"Q": 1.25, "QE": 1.08}
    conditions = tuple(map(_condition, edge_cloud))
    strategies = tuple(_strategies(operators))
    states = dict.fromkeys(does_not_fit, TrialState.DOES_NOT_FIT)
    states |= dict.fromkeys(failed, TrialState.FAILED)
    states |= dict.fromkeys(predicted, TrialState.PREDICTED)
    trials = tuple(
        trial
        for condition in conditions
        for trial in _condition_trials(strategies, condition, states, share, blocks, rng)
    )
    variants = sorted({strategy.variant for strategy in strategies})
    return StudyResults(
        name=name,
        model="digits-resnet20.onnx",
        task="classification",
        topology=_TOPOLOGY,
        conditions=conditions,
        requirement=requirement or {},
        variants={name: _variant(name, index) for index, name in enumerate(variants)},
        quality=_quality(variants, labels=labels, rng=rng),
        trials=trials,
        probes=_PROBES,
        warnings=_warnings(labels=labels, slow_int8=slow_int8),
        environment={"origin": f"tierwise.testing.results, seed {seed}: {MADE_UP}"},
        measured=dict.fromkeys(conditions, _blocks(blocks, len(strategies))) if blocks else {},
    )


def _condition(edge_cloud: str) -> NetworkCondition:
    return NetworkCondition(
        {
            "mobile-edge": LinkShape(200e6, 0.002),
            "edge-cloud": LinkShape(parse_bandwidth_bit_per_s(edge_cloud), 0.008),
        }
    )


def _variant(name: str, index: int) -> VariantRecord:
    return VariantRecord(
        name,
        sha256=f"{index:064x}",
        size_bytes=_SIZE_BYTES[name],
        macs=int(_MAC * (0.86 if "E" in name else 1)),
        notes=(MADE_UP,),
    )


def _blocks(count: int, requests: int) -> Measured:
    """Blocks of which every tenth was disturbed."""
    machines = [MachineState(steal=0.05 if number % 10 == 9 else 0.0) for number in range(count)]
    return Measured(
        blocks=tuple(
            BlockRecord(number, 0, requests, 0, 0, 1.0, machine, machine.disturbances())
            for number, machine in enumerate(machines)
        ),
        stopped=StopReason.MOST_BLOCKS.value,
        plan=asdict(MeasurePlan()),
        warm_up_requests=5 * requests,
    )


def _strategies(operators: Iterable[Operator]) -> Iterable[Strategy]:
    for operator in operators:
        variant = operator.variant.value
        if operator.partitions:
            cut = (_CUT[operator.quantizes],)
            for pair in (("mobile", "edge"), ("edge", "cloud"), ("mobile", "cloud")):
                yield Strategy(operator, variant, pair, cut)
        else:
            for tier in _TOPOLOGY.names:
                yield Strategy(operator, variant, (tier,))


@dataclass(frozen=True)
class _Shared:
    """What all trials of a block share: the input, and how slow the machine was."""

    input_index: np.ndarray
    block: np.ndarray
    slowness: np.ndarray


def _condition_trials(  # noqa: PLR0917 - called once, in this order
    strategies: tuple[Strategy, ...],
    condition: NetworkCondition,
    states: Mapping[str, TrialState],
    share: Mapping[str, float],
    blocks: int,
    rng: np.random.Generator,
) -> Iterable[TrialResult]:
    drift = np.cumsum(rng.normal(0, 0.004, blocks))
    slowness = np.exp(drift - np.median(drift)) if blocks else drift
    shared = _Shared(rng.integers(0, 200, blocks), np.arange(blocks), slowness)
    for strategy in strategies:
        state = states.get(strategy.id, TrialState.MEASURED if blocks else TrialState.PENDING)
        typical_s = _typical_parts(strategy, condition, share)
        total_s = sum(typical_s.values())
        if state is TrialState.MEASURED:
            yield _measured(strategy, condition, typical_s, shared, rng)
        elif state is TrialState.PREDICTED:
            interval_s = (total_s * 0.95, total_s, total_s * 1.05)
            yield TrialResult(strategy, condition, state, predicted_s=interval_s)
        else:
            reason = {
                TrialState.DOES_NOT_FIT: f"needs 612 MiB of 512 MiB on {strategy.tiers[0]}",
                TrialState.FAILED: f"the agent of {strategy.tiers[-1]} died twice in this trial",
            }.get(state, "")
            yield TrialResult(strategy, condition, state, reason)


def _typical_parts(
    strategy: Strategy, condition: NetworkCondition, share: Mapping[str, float]
) -> dict[str, float]:
    """Seconds of each part of an undisturbed request."""
    parts = {"client@mobile": 0.0004}
    hops = [("mobile", strategy.tiers[0], _IMAGE_BYTES)]
    if strategy.operator.partitions:
        boundary = _BOUNDARY_BYTES[strategy.operator.quantizes]
        hops.append((strategy.tiers[0], strategy.tiers[1], boundary))
    for source, target, wire_bytes in hops:
        links = _TOPOLOGY.path(source, target)
        if links:
            shapes = [condition.shapes[link.name] for link in links]
            parts[f"transfer@{source}-{target}"] = _crossing_s(shapes, wire_bytes)
    parts[f"preprocess@{strategy.tiers[0]}"] = 0.0006 * _COMPUTE_S[strategy.tiers[0]] / 0.015
    split = (0.38, 0.62) if strategy.operator.partitions else (1.0,)
    for tier, part in zip(strategy.tiers, split, strict=True):
        parts[f"compute@{tier}"] = _COMPUTE_S[tier] * part * share[strategy.variant]
        parts[f"codec@{tier}"] = 0.0003
        parts[f"queue@{tier}"] = 0.0001
    parts[f"postprocess@{strategy.tiers[-1]}"] = 0.0001
    return parts


def _crossing_s(shapes: Sequence[LinkShape], wire_bytes: int) -> float:
    """Round trips of all links, and the bytes at the pace of the slowest."""
    slowest_bit_per_s = min(shape.bandwidth_bit_per_s or float("inf") for shape in shapes)
    return sum(shape.rtt_s for shape in shapes) + wire_bytes * 8 / slowest_bit_per_s


def _measured(
    strategy: Strategy,
    condition: NetworkCondition,
    typical_s: Mapping[str, float],
    shared: _Shared,
    rng: np.random.Generator,
) -> TrialResult:
    n = len(shared.block)
    parts = {
        part: seconds
        * (shared.slowness if "compute" in part else 1.0)
        * np.exp(rng.normal(0, 0.03, n))
        * np.where(rng.random(n) < 0.04, rng.uniform(1.1, 1.9, n), 1.0)
        for part, seconds in typical_s.items()
    }
    links: tuple[Link, ...] = _TOPOLOGY.path("mobile", strategy.tiers[0])
    wire = {link.name: _IMAGE_BYTES for link in links}
    if strategy.operator.partitions:
        for link in _TOPOLOGY.path(*strategy.tiers):
            wire[link.name] = _BOUNDARY_BYTES[strategy.operator.quantizes]
    size = _SIZE_BYTES[strategy.variant]
    return TrialResult(
        strategy,
        condition,
        TrialState.MEASURED,
        latency_s=np.sum(list(parts.values()), axis=0),
        input_index=shared.input_index,
        block=shared.block,
        parts_s=parts,
        wire_bytes=wire,
        memory_bytes=dict.fromkeys(strategy.tiers, 64 * 2**20 + 8 * size),
        cold_start=_cold_start(strategy, typical_s),
        energy_j=0.5 * np.sum([v for part, v in parts.items() if "compute" in part], axis=0),
    )


def _cold_start(strategy: Strategy, typical_s: Mapping[str, float]) -> ColdStart:
    """Loading takes ten times as long as computing; the first request computes twice as long."""
    first = {part: s * (2 if "compute" in part else 1) for part, s in typical_s.items()}
    return ColdStart(
        {tier: (10 * typical_s[f"compute@{tier}"],) * 3 for tier in reversed(strategy.tiers)},
        first=(Timing(sum(first.values()), first),) * 3,
        second=(Timing(sum(typical_s.values()), typical_s),) * 3,
    )


def _quality(
    variants: Iterable[str], *, labels: bool, rng: np.random.Generator
) -> dict[str, QualityFigure]:
    n = 360
    order = rng.permutation(n)
    figures = {}
    for variant in variants:
        right = round(n * (_QUALITY[variant] / 100 + (0 if labels else 1 - _QUALITY["I"] / 100)))
        per_input = np.zeros(n)
        per_input[order[:right]] = 1.0
        value = 100 * right / n
        whole = 100 * round(n * _QUALITY["I"] / 100) / n if labels else 100.0
        figures[variant] = QualityFigure(
            "top-1" if labels else "agreement",
            value,
            whole - value,
            n,
            from_labels=labels,
            per_input=per_input,
            more={"top-5": 99.7} if labels else {},
        )
    return figures


def _warnings(*, labels: bool, slow_int8: bool) -> tuple[ResultWarning, ...]:
    found = [
        ResultWarning(
            WarningKind.LINK_OFF,
            "edge-cloud",
            "42.1 Mbit/s reached of 50 Mbit/s asked",
            "Close what else uses this machine and run the study again.",
        )
    ]
    if not labels:
        found.append(
            ResultWarning(
                WarningKind.NO_LABELS,
                "",
                "quality is agreement with the original model on 360 inputs",
                "Give labels with `data: labels:` to learn what each operator costs in accuracy.",
            )
        )
    if slow_int8:
        found.append(
            ResultWarning(
                WarningKind.INT8_SLOWER,
                "edge/Q",
                "18.8 ms against 15.0 ms in float",
                "This CPU has no INT8 instructions; choose a float strategy.",
            )
        )
    return tuple(found)
