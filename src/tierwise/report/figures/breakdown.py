"""Where the time goes, as stacked bars."""

import altair as alt

from tierwise.recommend.parts import PartGroup, full_bar_s
from tierwise.recommend.recommendation import Recommendation
from tierwise.report.figures.figure import SHOWN, Figure, Row, condition_choice
from tierwise.report.names import short_names
from tierwise.report.palette import TIERS
from tierwise.tiers.topology import Topology

_REST = {
    PartGroup.TRANSFER: "--transfer",
    PartGroup.PROCESSING: "--processing",
    PartGroup.SERVING: "--serving",
}


def breakdown_rows(recommendation: Recommendation) -> list[Row]:
    """One row a measured strategy, condition and part: compute by tier, the rest by group.

    ``from_ms`` and ``to_ms`` are where it is drawn: bars far longer than the fastest are cut off,
    and ``beyond`` says how long they are.
    """
    names = short_names(trial.strategy for trial in recommendation.results.trials)
    order = list(part_colours(recommendation.results.topology))
    rows: list[Row] = []
    for index, verdict in enumerate(recommendation.verdicts):
        measured = [a for a in verdict.strategies if a.breakdown_s]
        full_ms = full_bar_s([sum(a.breakdown_s.values()) for a in measured]) * 1e3
        for a in measured:
            grouped: dict[str, float] = {}
            for part, seconds in a.breakdown_s.items():
                group = PartGroup.of(part)
                tier = part.partition("@")[2]
                key = f"compute on {tier}" if group is PartGroup.COMPUTE else group.value
                grouped[key] = grouped.get(key, 0.0) + seconds
            total_ms, drawn_ms = sum(grouped.values()) * 1e3, 0.0
            for part in sorted(grouped, key=order.index):
                part_ms = grouped[part] * 1e3
                row: Row = {
                    "condition": index,
                    "strategy": a.id,
                    "name": names[a.id],
                    "part": part,
                    "ms": part_ms,
                    "share": part_ms / total_ms if total_ms else 0.0,
                    "total_ms": total_ms,
                    "from_ms": min(drawn_ms, full_ms),
                    "to_ms": min(drawn_ms + part_ms, full_ms),
                    "beyond": f"{total_ms:,.0f} ms →" if total_ms > full_ms * 1.001 else "",
                }
                rows.append(row)
                drawn_ms += part_ms
    return rows


def part_colours(topology: Topology) -> dict[str, str]:
    """Name of the colour of every part that can appear, in the order of the stack."""
    compute = {
        f"compute on {tier}": TIERS[min(index, len(TIERS) - 1)]
        for index, tier in enumerate(topology.names)
    }
    return compute | {group.value: colour for group, colour in _REST.items()}


def breakdown(recommendation: Recommendation) -> Figure | None:
    """The chart; ``None`` where nothing was measured."""
    rows = breakdown_rows(recommendation)
    if not rows:
        return None
    colours = part_colours(recommendation.results.topology)
    present = [part for part in colours if any(row["part"] == part for row in rows)]
    largest = max(
        (row for row in rows if row["strategy"] == rows[0]["strategy"]),
        key=lambda row: float(str(row["ms"])),
    )
    return Figure(
        "breakdown",
        "Where the time goes",
        "A typical request of every strategy (mean of the middle half of its requests). Serving is"
        " encoding, decoding, queues and the client's own work."
        + (" Bars with an arrow are longer than drawn." if any(r["beyond"] for r in rows) else ""),
        f"Stacked bars of the time of a request. The largest part of {largest['strategy']} is"
        f" {largest['part']} with {largest['ms']:.3g} ms.",
        _draw(rows, present, [colours[part] for part in present]),
        rows,
    )


def _draw(rows: list[Row], parts: list[str], colours: list[str]) -> alt.LayerChart:
    base = alt.Chart(alt.Data(values=rows)).transform_filter(SHOWN)
    y = alt.Y("name:N", title=None, sort=alt.EncodingSortField("total_ms", op="min"))
    bars = base.mark_bar(size=13).encode(
        alt.X("from_ms:Q", title="milliseconds", axis=alt.Axis(tickCount=8)),
        alt.X2("to_ms:Q"),
        y,
        alt.Color(
            "part:N",
            title=None,
            scale=alt.Scale(domain=parts, range=colours),
            legend=alt.Legend(symbolType="square"),
        ),
        tooltip=[
            alt.Tooltip("strategy:N"),
            alt.Tooltip("part:N"),
            alt.Tooltip("ms:Q", format=".3~g", title="ms"),
            alt.Tooltip("share:Q", format=".0%"),
        ],
    )
    cut_off = base.transform_filter("datum.beyond !== ''")
    ends = cut_off.transform_aggregate(
        end_ms="max(to_ms)", total_ms="min(total_ms)", groupby=["name", "beyond"]
    ).mark_text(align="right", dx=-6, color="--ground", fontWeight="bold").encode(
        alt.X("end_ms:Q"), y, text="beyond:N"
    )  # fmt: skip
    chart = alt.layer(bars, ends).add_params(condition_choice())
    return chart.properties(height=alt.Step(21))
