"""What a measurement says against itself."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.measure.machine import disturbances
from tierwise.measure.outcome import MeasureOutcome
from tierwise.measure.sample import Block
from tierwise.store.results import ProbeFigure
from tierwise.tiers.topology import NetworkCondition, Tier
from tierwise.units import format_bandwidth, format_bytes, format_duration

# What emulation may be off before it must be told.
_OFF = 0.10
# heuristic: what a round trip through two processes' schedulers costs by itself.
_RTT_SLACK_S = 1e-3
# Parts that no tier accounts for.
_UNEXPLAINED = ("other@", "unknown@")
_BREAKDOWN_OFF = 0.05
# heuristic: one late request in twenty is already in the p95 that users of an open loop ask for.
_LATE_SHARE = 0.05
# heuristic: a block in twenty disturbed moves a median by nothing.
_DISTURBED_SHARE = 0.05


def probe_caveats(
    probes: Sequence[ProbeFigure], condition: NetworkCondition
) -> list[ResultWarning]:
    """Tiers and links that did not do what was asked of them, by more than 10%."""
    return [_probe_caveat(probe, condition) for probe in probes if _is_off(probe)]


def lost_caveat(condition: NetworkCondition, packets: Mapping[str, int]) -> ResultWarning:
    """Links that lost packets (their number by link) though the study asked for no such loss."""
    where = ", ".join(f"{number} on {link}" for link, number in packets.items())
    return ResultWarning(
        WarningKind.PACKETS_LOST,
        condition.id,
        f"Packets were lost ({where}) because the process that carries them got no core; "
        "requests that had to send them again took longer.",
        "Close other programs and measure again with `--fresh`.",
    )


def crowded_caveats(tiers: Iterable[Tier]) -> list[ResultWarning]:
    """Tiers whose memory limit was shown to hold each strategy and then lifted to hold them all."""
    return [
        ResultWarning(
            WarningKind.NO_MEMORY_LIMIT,
            tier.name,
            f"Each strategy fits the {format_bytes(tier.memory_bytes or 0)} of tier {tier.name} "
            "alone, but not all at once: their latencies were measured without the limit.",
            "Study fewer operators at a time (`operators: {use: ...}`) to measure them within it.",
        )
        for tier in tiers
    ]


def _is_off(probe: ProbeFigure) -> bool:
    off = abs(probe.achieved - probe.asked)
    if probe.quantity == "rtt_s":
        return off > max(_RTT_SLACK_S, _OFF * probe.asked)
    return off > _OFF * probe.asked


def _probe_caveat(probe: ProbeFigure, condition: NetworkCondition) -> ResultWarning:
    evidence = f"asked {_show(probe, probe.asked)}, got {_show(probe, probe.achieved)}"
    if probe.quantity == "cpu factor":
        return ResultWarning(
            WarningKind.CPU_OFF,
            probe.subject,
            f"{evidence} ({probe.backend}).",
            "Close other programs, or ask for shares that leave a core free.",
        )
    return ResultWarning(
        WarningKind.LINK_OFF,
        probe.subject,
        f"{evidence} ({probe.backend}), under {condition.id}.",
        "Close other programs, or measure as root, where the kernel shapes the links.",
    )


def _show(probe: ProbeFigure, value: float) -> str:
    if probe.quantity == "bandwidth_bit_per_s":
        return format_bandwidth(value)
    return format_duration(value) if probe.quantity == "rtt_s" else f"{value:.3g} of a core"


def measured_caveats(
    condition: NetworkCondition, blocks: Sequence[Block], outcome: MeasureOutcome
) -> list[ResultWarning]:
    """What a condition's blocks say: disturbed, retried, not settled, breakdown that is off."""
    found = []
    failures = [failure for block in blocks for failure in block.failures]
    if failures:
        found.append(
            ResultWarning(
                WarningKind.RETRIED,
                condition.id,
                f"{len(failures)} requests failed and were sent again: {failures[0].message}",
                "Their times are not counted. Look at the tier that failed.",
            )
        )
    late = [sample.late for block in blocks for sample in block.samples]
    if late and np.mean(late) > _LATE_SHARE:
        found.append(
            ResultWarning(
                WarningKind.SENT_LATE,
                condition.id,
                f"{np.mean(late):.1%} of {len(late)} requests were sent more than 1 ms after they "
                "were due; the wait counts in their latency.",
                "Close other programs, or lower `measure: {arrivals: ...}`.",
            )
        )
    disturbed = list(filter(None, disturbances([block.machine for block in blocks])))
    if len(disturbed) > _DISTURBED_SHARE * len(blocks):
        found.append(
            ResultWarning(
                WarningKind.DISTURBED,
                condition.id,
                f"{len(disturbed)} of {len(blocks)} blocks, such as: {'; '.join(disturbed[0])}.",
                "Close other programs and measure again with `--fresh`.",
            )
        )
    if outcome.warm_up.unsettled:
        names = ", ".join(outcome.warm_up.unsettled[:3])
        found.append(
            ResultWarning(
                WarningKind.NOT_SETTLED,
                condition.id,
                f"{len(outcome.warm_up.unsettled)} strategies were still drifting after "
                f"{outcome.warm_up.blocks} warm-up blocks: {names}.",
                "Close other programs; raise `measure: {samples: ...}`.",
            )
        )
    return found + _breakdown_caveats(blocks)


def _breakdown_caveats(blocks: Sequence[Block]) -> list[ResultWarning]:
    """Strategies where parts do not add up, or where no tier accounts for a part."""
    off: dict[str, list[float]] = {}
    for block in blocks:
        for sample in block.samples:
            named = sum(v for k, v in sample.parts_s.items() if not k.startswith(_UNEXPLAINED))
            off.setdefault(sample.trial, []).append(abs(1 - named / sample.latency_s))
    return [
        ResultWarning(
            WarningKind.BREAKDOWN_OFF,
            trial,
            f"{np.median(shares):.1%} of the latency (median) is in no named part.",
            "A tier that is not Tierwise's agent gives no account; read its breakdown with care.",
        )
        for trial, shares in off.items()
        if np.median(shares) > _BREAKDOWN_OFF
    ]
