"""Predicted latency over the bandwidth of a link, and where the best strategy changes."""

import altair as alt
import numpy as np

from tierwise.operators.strategy import Strategy
from tierwise.predict.crossovers import Crossover, find_crossovers, not_beaten
from tierwise.predict.fit import fit_latency_model
from tierwise.predict.latency import LatencyModel
from tierwise.recommend.outlook_lines import around, choices_of, lines_of
from tierwise.recommend.outlook_words import crossover_text
from tierwise.recommend.recommendation import Recommendation
from tierwise.report.figures.axes import latency_axis
from tierwise.report.figures.figure import Figure, Row
from tierwise.report.names import short_names
from tierwise.report.palette import VARIANTS
from tierwise.store.results import StudyResults, TrialState
from tierwise.tiers.topology import NetworkCondition

# Points of a line: straight in 1 / bandwidth, a curve on the logarithmic axis.
_POINTS = 41
# heuristic: a name is about this share of a chart's height, and so many points of a line wide.
_LABEL_HEIGHT, _LABEL_POINTS = 0.08, 10


def predicted(recommendation: Recommendation) -> tuple[Figure, ...]:
    """One chart a link that has a bandwidth, where at least two strategies are worth a line."""
    results = recommendation.results
    if not any(len(trial.latency_s) for trial in results.trials):
        return ()
    model = fit_latency_model(results)
    condition = recommendation.verdicts[0].condition
    drawn = (_along(recommendation, model, link, condition) for link in model.links)
    return tuple(figure for figure in drawn if figure is not None)


def predicted_rows(
    recommendation: Recommendation, model: LatencyModel, link: str, condition: NetworkCondition
) -> tuple[list[Row], tuple[Crossover, ...]]:
    """One row a point of a line, or a measurement; and the crossovers.

    Lines of strategies that are not beaten at every bandwidth by another that meets the
    requirement. The other links are as in ``condition``.
    """
    results = recommendation.results
    base = condition.at_rate(link, None)
    known = [c.shapes[link].bandwidth_bit_per_s for c in (condition, *results.conditions)]
    rates = [rate for rate in known if rate is not None]
    if not rates:
        return [], ()
    choices = choices_of(results, recommendation.requirement)
    pieces = lines_of(model, choices, link, base)
    names = short_names(trial.strategy for trial in results.trials)
    ends = around(rates)
    kept = sorted({row for lines in pieces for row in lines.rows[not_beaten(lines)].tolist()})
    rates_of_line = np.geomspace(*ends, _POINTS)
    predictions = model.predict([base.at_rate(link, float(rate)) for rate in rates_of_line])
    rows: list[Row] = []
    for row in kept:
        strategy = model.strategies[row]
        about: Row = {
            "strategy": strategy.id,
            "name": names[strategy.id],
            "variant": strategy.operator.variant.value,
        }
        rows += [
            {
                **about,
                "state": "predicted",
                "mbit_per_s": float(rate) / 1e6,
                "p50_ms": float(predictions.median_s[row, at]) * 1e3,
                "low_ms": float(predictions.low_s[row, at]) * 1e3,
                "high_ms": float(predictions.high_s[row, at]) * 1e3,
            }
            for at, rate in enumerate(rates_of_line)
        ]
        rows += [{**about, **point} for point in _measured(results, strategy, link, base)]
    return rows, find_crossovers(model, pieces, link, base, ends)


def _measured(
    results: StudyResults, strategy: Strategy, link: str, base: NetworkCondition
) -> list[Row]:
    """The strategy's measurements where only ``link``'s bandwidth differs from ``base``."""
    points: list[Row] = []
    for trial in results.trials:
        rate = trial.condition.shapes[link].bandwidth_bit_per_s
        if (
            trial.strategy == strategy
            and trial.state is TrialState.MEASURED
            and rate is not None
            and trial.condition.at_rate(link, None) == base
        ):
            median_ms = float(np.median(trial.latency_s)) * 1e3
            points.append({"state": "measured", "mbit_per_s": rate / 1e6, "p50_ms": median_ms})
    return points


def _along(
    recommendation: Recommendation, model: LatencyModel, link: str, condition: NetworkCondition
) -> Figure | None:
    rows, crossovers = predicted_rows(recommendation, model, link, condition)
    if len({row["strategy"] for row in rows}) < 2:
        return None
    said = " ".join(crossover_text(one) for one in crossovers) or (
        f"One strategy is predicted to be the best at every bandwidth of {link} shown."
    )
    return Figure(
        f"predicted-{link}",
        f"Predicted: what another bandwidth of {link} would change",
        f"{said} Lines and their bands are predicted, dots measured; dashed: where the best"
        " changes. Strategies that another beats at every bandwidth are left out.",
        f"Lines of predicted median latency over the bandwidth of {link}. {said}",
        _draw(rows, crossovers, link),
        rows,
    )


def _draw(rows: list[Row], crossovers: tuple[Crossover, ...], link: str) -> alt.LayerChart:
    base = alt.Chart(alt.Data(values=rows))
    along = latency_axis([float(str(row["p50_ms"])) for row in rows])
    scale = alt.Scale(type="log", nice=False)
    shown = [variant for variant in VARIANTS if any(row["variant"] == variant for row in rows)]
    x = alt.X("mbit_per_s:Q", title=f"bandwidth of {link}, Mbit/s", scale=scale, axis=_ticks(rows))
    y = alt.Y("p50_ms:Q", title="median latency, ms", **along)
    colour = alt.Color(
        "variant:N",
        title=None,
        scale=alt.Scale(domain=shown, range=[f"--c-{v}" for v in shown]),
    )
    tooltip = [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("mbit_per_s:Q", format=".3~g", title="Mbit/s"),
        alt.Tooltip("p50_ms:Q", format=".3~g", title="median, ms"),
        alt.Tooltip("state:N"),
    ]
    lines = base.transform_filter("datum.state === 'predicted'")
    bands = lines.mark_area(opacity=0.12, clip=True).encode(
        x, alt.Y("low_ms:Q", **along), alt.Y2("high_ms:Q"), colour, detail="strategy:N"
    )
    medians = lines.mark_line(strokeWidth=2).encode(
        x, y, colour, detail="strategy:N", tooltip=tooltip
    )
    points = (
        base.transform_filter("datum.state === 'measured'")
        .mark_circle(size=44, opacity=1)
        .encode(x, y, colour, tooltip=tooltip)
    )
    changes = [{"mbit_per_s": one.bandwidth_bit_per_s / 1e6} for one in crossovers]
    rules = alt.Chart(alt.Data(values=changes)).mark_rule(
        color="--accent", strokeDash=[4, 4]
    ).encode(alt.X("mbit_per_s:Q", scale=scale))  # fmt: skip
    labels = alt.Chart(alt.Data(values=_labels(rows)))
    # Another line may run through a name: it stands on a rim of the page's colour.
    rim = labels.mark_text(
        align="right", dx=-4, dy=-9, color="--ground", stroke="--ground", strokeWidth=4
    ).encode(x, y, text="name:N")
    names = labels.mark_text(align="right", dx=-4, dy=-9).encode(x, y, text="name:N")
    return alt.layer(bands, rules, medians, points, rim, names).properties(height=320)


def _labels(rows: list[Row]) -> list[Row]:
    """For each line the row at which its name stands: the last, or farther left beside others."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if row["state"] == "predicted":
            lines.setdefault(str(row["strategy"]), []).append(row)
    heights = [float(str(row["p50_ms"])) for row in rows]
    near_ms = _LABEL_HEIGHT * (max(heights) - min(heights))
    placed: list[Row] = []
    before_ms, beside = float("-inf"), 0
    for line in sorted(lines.values(), key=lambda line: float(str(line[-1]["p50_ms"]))):
        end_ms = float(str(line[-1]["p50_ms"]))
        beside = beside + 1 if end_ms - before_ms < near_ms else 0
        before_ms = end_ms
        placed.append(line[max(len(line) - 1 - beside * _LABEL_POINTS, 0)])
    return placed


def _ticks(rows: list[Row]) -> alt.Axis:
    rates = [float(str(row["mbit_per_s"])) for row in rows]
    decades = np.arange(np.floor(np.log10(min(rates))), np.ceil(np.log10(max(rates))) + 1)
    return alt.Axis(values=[float(10.0**decade) for decade in decades], format="~g")
