"""Latency over the bandwidth of a link, where the study swept it."""

import math
from collections.abc import Sequence

import altair as alt

from tierwise.recommend.recommendation import ConditionVerdict, Recommendation
from tierwise.report.figures.axes import latency_axis
from tierwise.report.figures.figure import Figure, Row
from tierwise.report.names import short_names
from tierwise.report.palette import VARIANTS
from tierwise.tiers.topology import NetworkCondition

# heuristic: more lines in the foreground cannot be followed by eye.
_MOST_LINES = 8


def swept_links(conditions: Sequence[NetworkCondition]) -> tuple[str, ...]:
    """Links that have more than one bandwidth, in the order of the chain."""
    links = tuple(conditions[0].shapes) if conditions else ()
    return tuple(
        link for link in links if len({c.shapes[link].bandwidth_bit_per_s for c in conditions}) > 1
    )


def sweeps(recommendation: Recommendation) -> tuple[Figure, ...]:
    """One chart a swept link."""
    links = swept_links([verdict.condition for verdict in recommendation.verdicts])
    drawn = (_sweep(recommendation, link) for link in links)
    return tuple(figure for figure in drawn if figure is not None)


def sweep_rows(recommendation: Recommendation, link: str) -> list[Row]:
    """One row a strategy and bandwidth of ``link``, the other links as in the first condition."""
    names = short_names(trial.strategy for trial in recommendation.results.trials)
    line = _line(recommendation.verdicts, link)
    followed = _followed(line)
    rows: list[Row] = []
    for verdict in line:
        rate = verdict.condition.shapes[link].bandwidth_bit_per_s
        assert rate is not None
        for a in verdict.strategies:
            if a.latency is None:
                continue
            rows.append(
                {
                    "strategy": a.id,
                    "name": names[a.id],
                    "variant": a.trial.strategy.operator.variant.value,
                    "mbit_per_s": rate / 1e6,
                    "p50_ms": a.latency.p50_s * 1e3,
                    "state": "measured" if a.measured else "predicted",
                    "recommended": a.id == verdict.recommended,
                    "followed": a.id in followed,
                }
            )
    return rows


def _line(verdicts: Sequence[ConditionVerdict], link: str) -> list[ConditionVerdict]:
    """Verdicts along ``link``, everything else as in the first; unlimited has no place on it."""
    first = verdicts[0].condition

    def alike(condition: NetworkCondition) -> bool:
        mine, its = first.shapes[link], condition.shapes[link]
        return its.bandwidth_bit_per_s is not None and (
            its.rtt_s == mine.rtt_s
            and all(
                condition.shapes[name] == first.shapes[name]
                for name in first.shapes
                if name != link
            )
        )

    chosen = [verdict for verdict in verdicts if alike(verdict.condition)]
    return sorted(chosen, key=lambda v: v.condition.shapes[link].bandwidth_bit_per_s or 0.0)


def _followed(line: Sequence[ConditionVerdict]) -> set[str]:
    """Strategies worth following: every choice, then the Pareto fronts, then the fastest."""
    wanted: dict[str, None] = {}
    for verdict in line:
        if verdict.recommended is not None:
            wanted[verdict.recommended] = None
    for verdict in line:
        wanted |= dict.fromkeys(a.id for a in verdict.strategies if a.on_pareto_front)
    for verdict in line:
        wanted |= dict.fromkeys(a.id for a in verdict.strategies[:2] if a.measured)
    return set(list(wanted)[:_MOST_LINES])


def _sweep(recommendation: Recommendation, link: str) -> Figure | None:
    rows = sweep_rows(recommendation, link)
    if len({row["mbit_per_s"] for row in rows}) < 2:
        return None
    others = "; ".join(
        f"{name} {shape}"
        for name, shape in recommendation.verdicts[0].condition.shapes.items()
        if name != link
    )
    chosen = ", ".join(
        f"{row['strategy']} at {row['mbit_per_s']:g} Mbit/s" for row in rows if row["recommended"]
    )
    return Figure(
        f"sweep-{link}",
        f"What the bandwidth of {link} changes",
        f"Named lines are recommended somewhere or on a Pareto front; rings mark the recommended"
        f" strategy. Between the measured points nothing was measured."
        f"{f' Other links: {others}.' if others else ''}",
        f"Lines of median latency over the bandwidth of {link}. Recommended: {chosen or 'none'}.",
        _draw(rows, link),
        rows,
    )


def _draw(rows: list[Row], link: str) -> alt.LayerChart:
    base = alt.Chart(alt.Data(values=rows))
    x = alt.X(
        "mbit_per_s:Q",
        title=f"bandwidth of {link}, Mbit/s",
        scale=alt.Scale(type="log", nice=False, padding=20),
        axis=alt.Axis(values=sorted({float(str(row["mbit_per_s"])) for row in rows}), format="~g"),
    )
    latencies = [float(str(row["p50_ms"])) for row in rows]
    along = latency_axis(latencies)
    y = alt.Y("p50_ms:Q", title="median latency, ms", **along)
    colour = alt.Color(
        "variant:N",
        legend=None,
        scale=alt.Scale(domain=list(VARIANTS), range=[f"--c-{v}" for v in VARIANTS]),
    )
    tooltip = [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("mbit_per_s:Q", format="~g", title="Mbit/s"),
        alt.Tooltip("p50_ms:Q", format=".3~g", title="median, ms"),
        alt.Tooltip("state:N"),
    ]
    quiet = (
        base.transform_filter("!datum.followed")
        .mark_line(strokeWidth=1, color="--line")
        .encode(x, y, detail="strategy:N")
    )
    followed = base.transform_filter("datum.followed")
    lines = followed.mark_line(strokeWidth=2).encode(x, y, colour, detail="strategy:N")
    points = followed.mark_circle(size=34).encode(x, y, colour, tooltip=tooltip)
    rings = base.transform_filter("datum.recommended").mark_point(
        size=260, stroke="--accent", strokeWidth=2, filled=False
    ).encode(x, y)  # fmt: skip
    ends = alt.Chart(alt.Data(values=_name_places(rows, latencies)))
    naming = {"align": "right", "dx": -4}
    at = alt.Y("at_ms:Q", scale=along["scale"], title="median latency, ms", axis=along["axis"])
    band = ends.mark_text(
        **naming, stroke="--ground", strokeWidth=4, strokeJoin="round", color="--ground"
    ).encode(x, at, text="name:N")
    names = ends.mark_text(**naming).encode(x, at, text="name:N")
    return alt.layer(quiet, lines, points, rings, band, names).properties(height=360)


def _name_places(rows: list[Row], latencies: list[float]) -> list[Row]:
    """A place for the name of every followed line at its right end, none over another."""
    last = max(float(str(row["mbit_per_s"])) for row in rows)
    ends = sorted(
        (row for row in rows if row["followed"] and row["mbit_per_s"] == last),
        key=lambda row: float(str(row["p50_ms"])),
    )
    # A line of text is about 5% of the height of the chart.
    gap = 0.05 * math.log(max(latencies) / min(latencies)) if len(rows) > 1 else 0.0
    places: list[Row] = []
    lowest = -math.inf
    for row in ends:
        wanted = math.log(float(str(row["p50_ms"]))) + 0.7 * gap
        lowest = max(wanted, lowest + gap)
        places.append({"name": row["name"], "mbit_per_s": last, "at_ms": math.exp(lowest)})
    return places
