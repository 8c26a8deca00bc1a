"""Latency against quality, with the Pareto front."""

import altair as alt

from tierwise.recommend.recommendation import Recommendation
from tierwise.report.figures.axes import latency_axis
from tierwise.report.figures.figure import SHOWN, Figure, Row, condition_choice
from tierwise.report.names import short_names
from tierwise.report.palette import VARIANTS


def tradeoff_rows(recommendation: Recommendation) -> list[Row]:
    """One row a strategy and condition that has a latency and a quality."""
    names = short_names(trial.strategy for trial in recommendation.results.trials)
    rows: list[Row] = []
    for index, verdict in enumerate(recommendation.verdicts):
        for a in verdict.strategies:
            if a.latency is None or a.quality is None:
                continue
            rows.append(
                {
                    "condition": index,
                    "strategy": a.id,
                    "name": names[a.id],
                    "variant": a.trial.strategy.operator.variant.value,
                    "where": "split" if len(a.trial.strategy.tiers) > 1 else "one tier",
                    "p50_ms": a.latency.p50_s * 1e3,
                    "low_ms": a.latency.low_s * 1e3,
                    "high_ms": a.latency.high_s * 1e3,
                    "quality": a.quality.value,
                    "loss": a.quality.loss,
                    "state": "measured" if a.measured else "predicted",
                    "front": a.on_pareto_front,
                    "recommended": a.id == verdict.recommended,
                }
            )
    return rows


def tradeoff(recommendation: Recommendation) -> Figure | None:
    """The chart; ``None`` where no strategy has both figures."""
    rows = tradeoff_rows(recommendation)
    if not rows:
        return None
    metric = next(iter(recommendation.results.quality.values())).metric
    first = [row for row in rows if row["condition"] == rows[0]["condition"]]
    front = ", ".join(str(row["strategy"]) for row in first if row["front"])
    return Figure(
        "tradeoff",
        "Latency against quality",
        "Further left is faster, further up is better. Nothing measured beats the strategies on"
        " the line (the Pareto front). The bars are 95% intervals of the median; hollow points are"
        " predicted, not measured.",
        f"Scatter plot of median latency against {metric}. On the Pareto front: {front}.",
        _draw(rows, metric, recommendation),
        rows,
    )


def _draw(rows: list[Row], metric: str, recommendation: Recommendation) -> alt.LayerChart:
    base = alt.Chart(alt.Data(values=rows)).transform_filter(SHOWN)
    # The upper ends as well: intervals of what is predicted can be far wider than the points.
    along = latency_axis([float(str(row[end])) for row in rows for end in ("p50_ms", "high_ms")])
    x = alt.X("p50_ms:Q", title="median latency, ms", **along)
    y = alt.Y(
        "quality:Q", title=f"{metric}, points", scale=alt.Scale(zero=False, nice=True, padding=12)
    )
    front = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", color="--accent", strokeWidth=1.5, strokeDash=[5, 4]
    ).encode(x, y)  # fmt: skip
    spread = base.mark_rule(strokeWidth=1.5, opacity=0.6, clip=True).encode(
        alt.X("low_ms:Q", **along), y, alt.X2("high_ms:Q"), _colour()
    )
    ring = base.transform_filter("datum.recommended").mark_point(
        size=420, stroke="--accent", strokeWidth=2, filled=False, opacity=1
    ).encode(x, y)  # fmt: skip
    points = _points(base, metric).encode(x, y)
    named = [layer.encode(x, y) for layer in _names(base)]
    layers = [*_floor(recommendation), front, spread, ring, points, *named]
    return alt.layer(*layers).add_params(condition_choice()).properties(height=360)


def _colour() -> alt.Color:
    return alt.Color(
        "variant:N",
        title=None,
        scale=alt.Scale(domain=list(VARIANTS), range=[f"--c-{v}" for v in VARIANTS]),
        legend=alt.Legend(labelExpr=_VARIANT_WORDS),
    )


def _points(base: alt.Chart, metric: str) -> alt.Chart:
    """A mark a strategy: its variant's colour, hollow where it is predicted."""
    colour = _colour()
    shape = alt.Shape(
        "where:N",
        title=None,
        scale=alt.Scale(domain=["one tier", "split"], range=["circle", "diamond"]),
        legend=alt.Legend(symbolFillColor="--quiet"),
    )
    tooltip = [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("p50_ms:Q", format=".3~g", title="median, ms"),
        alt.Tooltip("quality:Q", format=".1f", title=metric),
        alt.Tooltip("loss:Q", format=".1f", title="loss, points"),
        alt.Tooltip("state:N"),
    ]
    fill = alt.condition(
        "datum.state === 'measured'",
        alt.Color("variant:N", scale=colour["scale"], legend=None),
        alt.value("transparent"),
    )
    return base.mark_point(size=110, strokeWidth=2, opacity=0.9).encode(
        colour, shape, tooltip=tooltip, fill=fill
    )


def _names(base: alt.Chart) -> tuple[alt.Chart, ...]:
    """Names of the front, and of the recommended strategy where it is not on it."""
    on_front = base.transform_filter("datum.front").encode(text="name:N")
    # Names stand on a band of the page's colour, so that no line or point runs through them.
    naming = {"align": "center", "dy": -16}
    band = on_front.mark_text(
        **naming, stroke="--ground", strokeWidth=4, strokeJoin="round", color="--ground"
    )
    # Below its point, because the front's names stand above theirs.
    chosen = base.transform_filter("datum.recommended && !datum.front").mark_text(
        align="center", dy=24, color="--accent", fontWeight="bold"
    ).encode(text="name:N")  # fmt: skip
    return band, on_front.mark_text(**naming), chosen


def _floor(recommendation: Recommendation) -> list[alt.Chart]:
    """The least quality that the requirement allows, where it has a limit."""
    limit = recommendation.requirement.max_loss
    original = recommendation.results.quality.get("I")
    if limit is None or original is None:
        return []
    line = alt.Chart(alt.Data(values=[{"quality": original.value - limit}])).mark_rule(
        color="--quiet", strokeDash=[2, 3]
    )
    return [line.encode(alt.Y("quality:Q"))]


_VARIANT_WORDS = "{'I': 'as it is', 'Q': 'quantized', 'E': 'early exit', 'QE': 'both'}[datum.label]"
