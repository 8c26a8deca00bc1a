"""Box plots of the latency of every strategy."""

import altair as alt
import numpy as np

from tierwise.recommend.recommendation import Assessment, Recommendation
from tierwise.report.figures.axes import latency_axis
from tierwise.report.figures.figure import SHOWN, Figure, Row, condition_choice
from tierwise.report.names import short_names
from tierwise.report.palette import VARIANTS

# heuristic: the furthest of the samples beyond the whiskers; more are a smear and a large file.
_MOST_OUTLIERS = 40


def box_rows(recommendation: Recommendation) -> list[Row]:
    """One row a measured strategy and condition: Tukey's five figures and what lies beyond."""
    names = short_names(trial.strategy for trial in recommendation.results.trials)
    return [
        {"condition": index, "name": names[a.id], **_five_figures(a)}
        for index, verdict in enumerate(recommendation.verdicts)
        for a in verdict.strategies
        if a.measured
    ]


def _five_figures(assessment: Assessment) -> Row:
    samples_ms = assessment.trial.latency_s * 1e3
    q1, median, q3 = np.quantile(samples_ms, (0.25, 0.5, 0.75))
    reach = 1.5 * (q3 - q1)
    inside = samples_ms[(samples_ms >= q1 - reach) & (samples_ms <= q3 + reach)]
    beyond = samples_ms[(samples_ms < q1 - reach) | (samples_ms > q3 + reach)]
    furthest = beyond[np.argsort(-np.abs(beyond - median))][:_MOST_OUTLIERS]
    return {
        "strategy": assessment.id,
        "variant": assessment.trial.strategy.operator.variant.value,
        "n": len(samples_ms),
        "low_ms": float(inside.min()),
        "q1_ms": float(q1),
        "median_ms": float(median),
        "q3_ms": float(q3),
        "high_ms": float(inside.max()),
        "beyond_ms": [round(float(value), 4) for value in furthest],
    }


def _beyond(row: Row) -> list[float]:
    beyond = row["beyond_ms"]
    assert isinstance(beyond, list)
    return beyond


def boxes(recommendation: Recommendation) -> Figure | None:
    """The chart; ``None`` where nothing was measured."""
    rows = box_rows(recommendation)
    if not rows:
        return None
    fastest, slowest = rows[0], [r for r in rows if r["condition"] == rows[0]["condition"]][-1]
    return Figure(
        "boxes",
        "How latency spreads",
        "Box: middle half of the samples, line: median, whiskers: the furthest sample within 1.5"
        f" box lengths, dots: samples beyond (at most {_MOST_OUTLIERS} a strategy, the furthest).",
        f"Box plots of latency: from {fastest['strategy']}, median {fastest['median_ms']:.3g} ms,"
        f" to {slowest['strategy']}, median {slowest['median_ms']:.3g} ms.",
        _draw(rows),
        rows,
    )


def _draw(rows: list[Row]) -> alt.LayerChart:
    base = alt.Chart(alt.Data(values=rows)).transform_filter(SHOWN)
    ends = [float(str(row[key])) for row in rows for key in ("low_ms", "high_ms")]
    ends += [value for row in rows for value in _beyond(row)]
    x = latency_axis(ends)
    y = alt.Y("name:N", title=None, sort=alt.EncodingSortField("median_ms", op="min"))
    colour = alt.Color(
        "variant:N",
        legend=None,
        scale=alt.Scale(domain=list(VARIANTS), range=[f"--c-{v}" for v in VARIANTS]),
    )
    tooltip = [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("n:Q", title="samples"),
        alt.Tooltip("median_ms:Q", format=".3~g", title="median, ms"),
        alt.Tooltip("q1_ms:Q", format=".3~g", title="first quartile, ms"),
        alt.Tooltip("q3_ms:Q", format=".3~g", title="third quartile, ms"),
    ]
    whiskers = base.mark_rule(strokeWidth=1.2).encode(
        alt.X("low_ms:Q", title="latency, ms", **x), alt.X2("high_ms:Q"), y, colour
    )
    box = base.mark_bar(size=11, opacity=0.85, cornerRadius=2).encode(
        alt.X("q1_ms:Q", scale=x["scale"]), alt.X2("q3_ms:Q"), y, colour, tooltip=tooltip
    )
    median = base.mark_tick(size=15, thickness=2, color="--ink").encode(
        alt.X("median_ms:Q", scale=x["scale"]), y
    )
    beyond = (
        base.transform_flatten(["beyond_ms"])
        .mark_circle(size=9, opacity=0.5)
        .encode(alt.X("beyond_ms:Q", scale=x["scale"]), y, colour)
    )
    return (
        alt.layer(whiskers, beyond, box, median)
        .add_params(condition_choice())
        .properties(height=alt.Step(21))
    )
