"""Where the time goes, as stacked bars."""

import altair as alt

from tierwise.recommend.parts import PartGroup
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
    """One row a measured strategy, condition and part: compute by tier, the rest by group."""
    names = short_names(trial.strategy for trial in recommendation.results.trials)
    order = list(part_colours(recommendation.results.topology))
    rows: list[Row] = []
    for index, verdict in enumerate(recommendation.verdicts):
        for a in verdict.strategies:
            grouped: dict[str, float] = {}
            for part, seconds in a.breakdown_s.items():
                group = PartGroup.of(part)
                tier = part.partition("@")[2]
                key = f"compute on {tier}" if group is PartGroup.COMPUTE else group.value
                grouped[key] = grouped.get(key, 0.0) + seconds
            total_ms = sum(grouped.values()) * 1e3
            rows += [
                {
                    "condition": index,
                    "strategy": a.id,
                    "name": names[a.id],
                    "part": part,
                    "order": order.index(part) if part in order else len(order),
                    "ms": seconds * 1e3,
                    "share": seconds * 1e3 / total_ms if total_ms else 0.0,
                    "total_ms": total_ms,
                }
                for part, seconds in grouped.items()
            ]
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
        " encoding, decoding, queues and the client's own work.",
        f"Stacked bars of the time of a request. The largest part of {largest['strategy']} is"
        f" {largest['part']} with {largest['ms']:.3g} ms.",
        _draw(rows, present, [colours[part] for part in present]),
        rows,
    )


def _draw(rows: list[Row], parts: list[str], colours: list[str]) -> alt.Chart:
    return (
        alt.Chart(alt.Data(values=rows))
        .transform_filter(SHOWN)
        .mark_bar(size=13)
        .encode(
            alt.X("ms:Q", title="milliseconds", stack="zero"),
            alt.Y("name:N", title=None, sort=alt.EncodingSortField("total_ms", op="min")),
            alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=parts, range=colours),
                legend=alt.Legend(symbolType="square"),
            ),
            alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("strategy:N"),
                alt.Tooltip("part:N"),
                alt.Tooltip("ms:Q", format=".3~g", title="ms"),
                alt.Tooltip("share:Q", format=".0%"),
            ],
        )
        .add_params(condition_choice())
        .properties(height=alt.Step(21))
    )
