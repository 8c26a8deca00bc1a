"""The report's tables as plain rows, for the formats that are not a page."""

from tierwise.recommend.footprint import energy_of
from tierwise.recommend.recommendation import Assessment, Recommendation
from tierwise.tables import Cell, Table


def tables(recommendation: Recommendation) -> tuple[Table, ...]:
    """All of them, in reading order; those without rows are left out."""
    found = (
        _strategies(recommendation),
        _footprints(recommendation),
        _against_best(recommendation),
        _pairwise(recommendation),
        _quality(recommendation),
        _probes(recommendation),
        _blocks(recommendation),
        _warnings(recommendation),
    )
    return tuple(table for table in found if table.rows)


def _strategies(recommendation: Recommendation) -> Table:
    header = (
        "condition", "strategy", "operator", "tiers", "encoding", "state", "p50_s", "p50_low_s",
        "p50_high_s", "p95_s", "n", "metric", "quality", "loss", "memory_bytes", "meets",
        "recommended", "tied_with_best", "on_pareto_front", "why",
    )  # fmt: skip
    rows = [
        [verdict.condition.id, *_strategy(a), a.id == verdict.recommended]
        for verdict in recommendation.verdicts
        for a in verdict.strategies
    ]
    # `recommended` belongs to the verdict, so it comes last from there; put it in its place.
    rows = [[*row[:16], row[-1], *row[16:-1]] for row in rows]
    return Table("strategies", "Every strategy", header, rows)


def _strategy(a: Assessment) -> list[Cell]:
    latency, quality, strategy = a.latency, a.quality, a.trial.strategy
    figures: list[Cell] = [None, None, None, None, 0]
    if latency is not None:
        figures = [latency.p50_s, latency.low_s, latency.high_s, latency.p95_s, latency.n]
    return [
        a.id,
        strategy.operator.value,
        strategy.placement,
        strategy.encoding,
        a.trial.state.value,
        *figures,
        None if quality is None else quality.metric,
        None if quality is None else quality.value,
        a.loss,
        a.memory_bytes,
        a.meets,
        a.tied_with_best,
        a.on_pareto_front,
        a.trial.reason or a.unsuited or "; ".join(miss.why for miss in a.misses if miss.why),
    ]


def _footprints(recommendation: Recommendation) -> Table:
    """One row for each strategy and tier: what starting and holding it there takes."""
    header = (
        "strategy", "tier", "memory_bytes", "cold_load_s", "cold_first_compute_extra_s",
        "cold_first_request_s", "cold_second_request_s", "cold_total_s", "cold_starts", "energy_j",
    )  # fmt: skip
    rows: list[list[Cell]] = []
    for a in recommendation.verdicts[0].strategies if recommendation.verdicts else ():
        cold, memory = a.trial.cold_start, a.trial.memory_bytes
        if cold is None and not memory:
            continue
        for tier in a.trial.strategy.tiers:
            start: list[Cell] = [None, None, None, None, None, 0]
            if cold is not None:
                start = [
                    *cold.tier_s(tier), cold.first_s, cold.second_s, cold.total_s, len(cold.first),
                ]  # fmt: skip
            rows.append([a.id, tier, memory.get(tier), *start, energy_of(a.trial)])
    return Table("footprint", "What starting and holding a strategy takes", header, rows)


def _against_best(recommendation: Recommendation) -> Table:
    header = (
        "condition", "strategy", "fastest", "ratio", "ratio_low", "ratio_high", "ratio_confidence",
        "blocks", "p_holm", "cliffs_delta", "magnitude", "standing", "beaten_by",
    )  # fmt: skip
    rows: list[list[Cell]] = [
        [
            verdict.condition.id, a.id, c.best, c.ratio.estimate, c.ratio.low, c.ratio.high,
            c.ratio.confidence, c.blocks, c.p_holm, c.effect.delta, c.effect.magnitude.value,
            c.standing.value, c.beaten_by,
        ]
        for verdict in recommendation.verdicts
        for a in verdict.strategies
        if (c := a.against_best) is not None
    ]  # fmt: skip
    return Table("against-best", "Against the fastest, block by block", header, rows)


def _pairwise(recommendation: Recommendation) -> Table:
    header = (
        "condition", "a", "b", "p_conover", "log10_p_conover", "p_conover_holm", "cliffs_delta",
        "magnitude",
    )  # fmt: skip
    rows = [
        [
            verdict.condition.id, c.a, c.b, c.p, c.log10_p, c.p_holm, c.effect.delta,
            c.effect.magnitude.value,
        ]
        for verdict in recommendation.verdicts
        for c in verdict.comparisons
    ]  # fmt: skip
    return Table("pairwise", "Every pair, Conover after Kruskal-Wallis", header, rows)


def _quality(recommendation: Recommendation) -> Table:
    results = recommendation.results
    header = ("variant", "metric", "value", "loss", "n", "truth", "size_bytes", "macs", "notes")
    rows: list[list[Cell]] = []
    for name, figure in results.quality.items():
        record = results.variants.get(name)
        rows.append(
            [
                name,
                figure.metric,
                figure.value,
                figure.loss,
                figure.n,
                "labels" if figure.from_labels else "original",
                None if record is None else record.size_bytes,
                None if record is None else record.macs,
                "" if record is None else "; ".join(record.notes),
            ]
        )
    return Table("quality", "What each operator costs in quality", header, rows)


def _probes(recommendation: Recommendation) -> Table:
    header = ("subject", "quantity", "asked", "achieved", "backend")
    probes = recommendation.results.probes
    rows: list[list[Cell]] = [
        [p.subject, p.quantity, p.asked, p.achieved, p.backend] for p in probes
    ]
    return Table("probes", "Asked of the tiers and links, and achieved", header, rows)


def _blocks(recommendation: Recommendation) -> Table:
    """One row for each condition; `tierwise export` has one for each block."""
    header = (
        "condition", "blocks", "requests", "failures", "late_share", "warm_up_requests",
        "unsettled", "disturbed_blocks", "stopped",
    )  # fmt: skip
    rows: list[list[Cell]] = [
        [
            condition.id, len(m.blocks), m.requests, m.failures, m.late_share, m.warm_up_requests,
            " ".join(m.unsettled), len(m.disturbed), m.stopped,
        ]
        for condition, m in recommendation.results.measured.items()
    ]  # fmt: skip
    return Table("blocks", "How each condition was measured", header, rows)


def _warnings(recommendation: Recommendation) -> Table:
    header = ("warning", "about", "evidence", "advice")
    rows = [[w.kind.value, w.subject, w.evidence, w.advice] for w in recommendation.warnings]
    return Table("warnings", "Before you believe it", header, rows)
