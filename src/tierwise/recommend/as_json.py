"""A recommendation as the JSON that ``tierwise recommend --json`` prints."""

from tierwise.measure.cold_start import ColdStart
from tierwise.recommend.blocks import measured_json
from tierwise.recommend.footprint import energy_of
from tierwise.recommend.recommendation import Assessment, ConditionVerdict, Recommendation


def as_json(recommendation: Recommendation) -> dict[str, object]:
    """Plain values only; ``null`` where a figure is not known or not backed by its samples."""
    requirement = recommendation.requirement
    return {
        "verdict": recommendation.verdict,
        "met": recommendation.met,
        "requirement": {
            "percentile": requirement.percentile,
            "latency_s": requirement.latency_s,
            "max_loss": requirement.max_loss,
            "max_memory_bytes": requirement.max_memory_bytes,
        },
        "recommended": [
            {
                "condition": verdict.condition.id,
                "id": verdict.recommended,
                "fastest": verdict.fastest,
                "verdict": verdict.text,
            }
            for verdict in recommendation.verdicts
        ],
        "switches": [
            {
                "link": switch.link,
                "low_bit_per_s": switch.low_bit_per_s,
                "high_bit_per_s": None
                if switch.high_bit_per_s == float("inf")
                else switch.high_bit_per_s,
                "below": switch.below,
                "above": switch.above,
            }
            for switch in recommendation.switches
        ],
        "measured": [
            measured
            for verdict in recommendation.verdicts
            if (measured := measured_json(recommendation.results, verdict)) is not None
        ],
        "strategies": [
            _strategy(recommendation, verdict, assessment)
            for verdict in recommendation.verdicts
            for assessment in verdict.strategies
        ],
        "warnings": [
            {
                "kind": warning.kind.value,
                "subject": warning.subject,
                "evidence": warning.evidence,
                "advice": warning.advice,
            }
            for warning in recommendation.warnings
        ],
    }


def _strategy(
    recommendation: Recommendation, verdict: ConditionVerdict, assessment: Assessment
) -> dict[str, object]:
    latency, quality = assessment.latency, assessment.quality
    chosen = recommendation.results.chosen_as(assessment.trial)
    return {
        "id": assessment.id,
        "operator": assessment.trial.strategy.operator.value,
        "variant": assessment.trial.strategy.variant,
        "tiers": list(assessment.trial.strategy.tiers),
        "cuts": list(assessment.trial.strategy.cuts),
        "encodings": [dict(one) for one in assessment.trial.strategy.encodings],
        "condition": verdict.condition.id,
        "state": assessment.trial.state.value,
        "chosen_as": None if chosen is None else chosen.value,
        "predicted_s": assessment.trial.predicted_s,
        "reason": assessment.trial.reason or assessment.unsuited,
        "latency_s": {
            "p50": None if latency is None else latency.p50_s,
            "p50_interval": None if latency is None else [latency.low_s, latency.high_s],
            "p95": None if latency is None else latency.p95_s,
            "n": 0 if latency is None else latency.n,
        },
        "quality": None if quality is None else quality.value,
        "metric": None if quality is None else quality.metric,
        "loss": assessment.loss,
        "memory_bytes": dict(assessment.trial.memory_bytes),
        "wire_bytes": dict(assessment.trial.wire_bytes),
        "cold_start_s": _cold_start(assessment.trial.cold_start),
        "energy_j": energy_of(assessment.trial),
        "breakdown_s": dict(assessment.breakdown_s),
        "meets": assessment.meets,
        "misses": [
            {
                "limit": miss.limit.value,
                "value": miss.value,
                "allowed": miss.allowed,
                "why": miss.why,
            }
            for miss in assessment.misses
        ],
        "tied_with_best": assessment.tied_with_best,
        "recommended": assessment.id == verdict.recommended,
        "on_pareto_front": assessment.on_pareto_front,
    }


def _cold_start(cold: ColdStart | None) -> dict[str, object] | None:
    if cold is None:
        return None
    return {
        "total": cold.total_s,
        "first_request": cold.first_s,
        "second_request": cold.second_s,
        "load": {tier: cold.tier_s(tier)[0] for tier in cold.load_s},
        "first_compute_extra": {tier: cold.tier_s(tier)[1] for tier in cold.load_s},
        "n": len(cold.first),
    }
