"""The terminal's table of strategies under one network condition, and what its signs mean."""

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tierwise.cli.figures import decimals, figures, what
from tierwise.recommend.blocks import in_fewer_blocks
from tierwise.recommend.parts import PartGroup, by_group, full_bar_s
from tierwise.recommend.recommendation import Assessment, ConditionVerdict, Recommendation

# Glyphs differ as well as colours: a pipe, a printout or an eye may have no colours.
_BARS = (
    ("compute", "█", "cyan", (PartGroup.COMPUTE,)),
    ("transfer", "▒", "yellow", (PartGroup.TRANSFER,)),
    ("rest", "░", "bright_black", (PartGroup.PROCESSING, PartGroup.SERVING)),
)
FEWER = "†"
"""Before a p50 of fewer, or other, blocks than those of the table's other strategies."""
_STATE_STYLE = "bright_black"
_UNSUITED = Text("!", "yellow")
# An interval in words fits the shortest bar; a longer one than the longest says nothing more.
_SHORTEST_BAR, _LONGEST_BAR = 15, 40


def strategy_table(
    recommendation: Recommendation, verdict: ConditionVerdict, width: int = 80
) -> Table:
    """Every strategy under one condition, fastest first; without bars where there is no room."""
    strategies = verdict.strategies
    numbered = [a.latency.p50_s for a in strategies if a.latency is not None]
    full_s, digits = full_bar_s(numbered), decimals(numbered)
    fewer = in_fewer_blocks(verdict)
    numbers = [[*figures(a, digits, FEWER if a.id in fewer else "")] for a in strategies]
    titles = ["p50 ms", "p95 ms", f"{_metric(verdict)} %", "loss pts"]
    widths = [max(map(len, column)) for column in zip(titles, *numbers, strict=True)]
    asked = not recommendation.requirement.empty
    names, cells = _names_and_bar(verdict, width - sum(widths) - 4 - 3 * asked, digits)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bright_black", pad_edge=False)
    table.add_column("", no_wrap=True, width=2)
    table.add_column("where", overflow="fold")
    table.add_column("what", no_wrap=True, overflow="ellipsis")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    if asked:
        table.add_column("ok", justify="center", no_wrap=True)
    if cells:
        table.add_column("breakdown", no_wrap=True, width=cells, overflow="ellipsis")
    for assessment, name, cell in zip(strategies, names, numbers, strict=True):
        row: list[RenderableType] = [
            _marks(verdict, assessment, asked=asked), assessment.trial.strategy.placement, name,
            *cell,
        ]  # fmt: skip
        if asked:
            row.append(_meets(assessment))
        if cells:
            row.append(_said(assessment, digits) or _bar(assessment, full_s, cells))
        table.add_row(*row, style=_row_style(verdict, assessment))
    return table


def _names_and_bar(verdict: ConditionVerdict, width: int, digits: int) -> tuple[list[str], int]:
    """What stands under "what", with its cuts where all of them fit; and the bars' length, or 0.

    ``width`` is what the figures leave of the terminal.
    """
    strategies = [a.trial.strategy for a in verdict.strategies]
    where = max(map(len, ("where", *(one.placement for one in strategies))))
    short = [what(a) for a in verdict.strategies]
    full = [
        name + "".join(f"@{cut}" for cut in strategy.cuts)
        for name, strategy in zip(short, strategies, strict=True)
    ]
    said = [_said(a, digits) for a in verdict.strategies]
    least = max(_SHORTEST_BAR, *(len(text) for text in said if text is not None), 0)
    for names in (full, short):
        # Two marks, and a space behind every column but the last.
        cells = width - 3 - (where + 1) - (max(map(len, ("what", *names))) + 1)
        if cells >= least:
            return names, min(cells, max(least, _LONGEST_BAR))
    return short, 0


def _metric(verdict: ConditionVerdict) -> str:
    metrics = {a.quality.metric for a in verdict.strategies if a.quality is not None}
    return metrics.pop() if len(metrics) == 1 else "quality"


def _marks(verdict: ConditionVerdict, assessment: Assessment, *, asked: bool) -> Text:
    first = Text(" ")
    if assessment.id == verdict.recommended:
        first = Text("★", "bold green")
    elif assessment.tied_with_best:
        first = Text("≈", "bold green")
    elif assessment.unsuited and not asked:  # else it stands where a requirement is judged
        first = _UNSUITED
    return Text.assemble(first, ("◆" if assessment.on_pareto_front else " ", "magenta"))


def _meets(assessment: Assessment) -> Text:
    if assessment.unsuited:
        return _UNSUITED
    signs = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}
    return Text(*signs[assessment.meets])


def _row_style(verdict: ConditionVerdict, assessment: Assessment) -> str:
    if assessment.id == verdict.recommended:
        return "bold"
    return "" if assessment.meets and not assessment.unsuited else "dim"


def _said(assessment: Assessment, digits: int) -> Text | None:
    """Where there is no breakdown: what became of the trial, or the predicted interval."""
    if assessment.latency is None:
        return Text(assessment.trial.state.value, _STATE_STYLE)
    if assessment.measured:
        return None
    # At most one: the interval says how far to trust even that.
    low, high = (
        f"{s * 1e3:.{min(digits, 1)}f}"
        for s in (assessment.latency.low_s, assessment.latency.high_s)
    )
    return Text(f"{low} to {high} ms", _STATE_STYLE)


def _bar(assessment: Assessment, full_s: float, cells: int) -> Text:
    """The breakdown of what was measured."""
    grouped = by_group(assessment.breakdown_s)
    bar = Text()
    drawn, passed_s = 0, 0.0
    for _, glyph, style, groups in _BARS:
        passed_s += sum(grouped[group] for group in groups)
        # Rounding the running total, and not each part, keeps the whole bar's length true.
        end = min(round(passed_s / full_s * cells), cells)
        bar.append(glyph * (end - drawn), style)
        drawn = end
    if passed_s > full_s * 1.001:
        bar.right_crop(1)
        bar.append("→", _STATE_STYLE)
    return bar


def legend(recommendation: Recommendation, width: int) -> Text:
    """What the signs of the tables mean: no sign is parted from its meaning."""
    assessments = [a for verdict in recommendation.verdicts for a in verdict.strategies]
    signs = [
        ("★", "bold green", "recommended"),
        ("≈", "bold green", "tied"),
        ("◆", "magenta", "Pareto front"),
        *((glyph, style, name) for name, glyph, style, _ in _BARS),
    ]
    if any(a.latency is not None and not a.measured for a in assessments):
        signs.append(("~", "", "predicted"))
    if any(a.measured and a.latency is not None and a.latency.p95_s is None for a in assessments):
        signs.append(("·", "", "too few samples"))
    if any(a.unsuited for a in assessments):
        signs.append(("!", "yellow", "INT8 no faster than float"))
    if any(a.meets is None and not a.unsuited for a in assessments):
        signs.append(("?", "yellow", "too few to tell"))
    if any(a.quality is not None for a in assessments):
        signs.append(("loss pts", "", "percentage points lost, below 0 gained"))
    shown, column = Text(style="bright_black"), 0
    for sign, style, name in signs:
        length = len(f"{sign} {name}")
        if column and column + 2 + length > width:
            shown.append("\n")
            column = 0
        elif column:
            shown.append("  ")
            column += 2
        shown.append(sign, style).append(f" {name}")
        column += length
    return shown
