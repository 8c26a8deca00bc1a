"""A recommendation in the terminal: the table of strategies, and the verdict under it."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tierwise.cli.figures import decimals, figures, what
from tierwise.cli.sweep_table import sweep_lines
from tierwise.recommend.blocks import in_fewer_blocks, measured_text
from tierwise.recommend.footprint import (
    cold_start_text,
    energy_text,
    memory_text,
)
from tierwise.recommend.outlook import Outlook
from tierwise.recommend.parts import PartGroup, by_group, full_bar_s
from tierwise.recommend.phrases import under
from tierwise.recommend.recommendation import Assessment, ConditionVerdict, Recommendation
from tierwise.recommend.route import route_text
from tierwise.recommend.words import sweep_text

# A table a condition up to this many; beyond, one line a condition says more.
_MOST_TABLES = 2
# Glyphs differ as well as colours: a pipe, a printout or an eye may have no colours.
_BARS = (
    ("compute", "█", "cyan", (PartGroup.COMPUTE,)),
    ("transfer", "▒", "yellow", (PartGroup.TRANSFER,)),
    ("rest", "░", "bright_black", (PartGroup.PROCESSING, PartGroup.SERVING)),
)
# A p50 of fewer, or other, blocks than those of the table's other strategies.
_FEWER = "†"
_MOST_NAMES = 4
_STATE_STYLE = "bright_black"


def verdict_view(
    recommendation: Recommendation, *, width: int = 80, every: bool = False, text: str = ""
) -> RenderableType:
    """Everything to print: tables, legend, verdict.

    Args:
        recommendation: What to show.
        width: Columns of the terminal.
        every: A table for every condition, however many there are.
        text: The verdict in other words than the recommendation's own.
    """
    verdicts = recommendation.verdicts
    shown: list[RenderableType] = []
    if len(verdicts) <= _MOST_TABLES or every:
        for verdict in verdicts:
            title = under(verdict.condition).removeprefix("at ")
            shown += [Text(title, style="bold"), strategy_table(recommendation, verdict, width)]
            shown += [
                *_crossing(verdict),
                *_reasons(verdict),
                *_blocks(recommendation, verdict),
                *_footprint(recommendation, verdict),
                "",
            ]
        shown.append(_legend(recommendation))
        text = text or recommendation.verdict
    else:
        shown += sweep_lines(verdicts, recommendation.results, width)
        shown.append(
            Text("`--all` shows every strategy; `--when LINK=RATE` asks about one.", "bright_black")
        )
        text = text or sweep_text(recommendation)
    shown += ["", Text("Verdict", style="bold")]
    shown += [Padding(Text(part), (0, 0, 1, 2)) for part in text.split("\n\n")]
    return Group(*shown)


def outlook_view(outlook: Outlook, *, width: int = 80, every: bool = False) -> RenderableType:
    """Everything to print of a prediction: as :func:`verdict_view`, with its own words."""
    return verdict_view(outlook.recommendation, width=width, every=every, text=outlook.verdict)


def strategy_table(
    recommendation: Recommendation, verdict: ConditionVerdict, width: int = 80
) -> Table:
    """Every strategy under one condition, fastest first."""
    # 120 columns hold the cut's name as well; in between, the bars take what is left.
    wide = width >= 116
    asked = not recommendation.requirement.empty
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bright_black", pad_edge=False)
    table.add_column("", no_wrap=True, width=2)
    table.add_column("where", no_wrap=True)
    table.add_column("what", no_wrap=True, max_width=26 if wide else 10, overflow="ellipsis")
    table.add_column("p50 ms", justify="right", no_wrap=True)
    table.add_column("p95 ms", justify="right", no_wrap=True)
    table.add_column(_metric(verdict), justify="right", no_wrap=True)
    table.add_column("loss", justify="right", no_wrap=True)
    if asked:
        table.add_column("ok", justify="center", no_wrap=True)
    numbered = [a.latency.p50_s for a in verdict.strategies if a.latency is not None]
    full_s = full_bar_s(numbered)
    digits = decimals(numbered)
    fewer = in_fewer_blocks(verdict)
    cells = 30 if wide else min(15 + max(width - 80, 0), 34)
    table.add_column("breakdown", no_wrap=True, width=cells, overflow="ellipsis")
    for assessment in verdict.strategies:
        cut = "".join(f"@{cut}" for cut in assessment.trial.strategy.cuts) if wide else ""
        row: list[RenderableType] = [
            _marks(verdict, assessment),
            assessment.trial.strategy.placement,
            f"{what(assessment)}{cut}",
            *figures(assessment, digits, _FEWER if assessment.id in fewer else ""),
        ]
        if asked:
            row.append(_meets(assessment))
        row.append(_bar(assessment, full_s, cells))
        table.add_row(*row, style=_row_style(verdict, assessment))
    return table


def _crossing(verdict: ConditionVerdict) -> Iterable[Text]:
    """How tensors cross between tiers, where it is not as they are: a line for each way."""
    by_encoding: dict[str, list[str]] = {}
    for assessment in verdict.strategies:
        strategy = assessment.trial.strategy
        if strategy.encoding:
            by_encoding.setdefault(strategy.encoding, []).append(assessment.id)
    for encoding, ids in by_encoding.items():
        yield Text(f"{encoding} crosses in {_named(ids)}.", "bright_black")


def _reasons(verdict: ConditionVerdict) -> Iterable[Text]:
    """Why some have no numbers: one line for each reason, however many share it."""
    by_reason: dict[str, list[str]] = {}
    for assessment in verdict.strategies:
        if assessment.latency is None and assessment.trial.reason:
            key = f"{assessment.trial.state.value}: {assessment.trial.reason}"
            by_reason.setdefault(key, []).append(assessment.id)
    for reason, ids in by_reason.items():
        yield Text(f"{', '.join(ids)} {reason}", _STATE_STYLE)


def _blocks(recommendation: Recommendation, verdict: ConditionVerdict) -> Iterable[Text]:
    """In how many blocks it was measured, why they ended, and who has fewer."""
    measured = recommendation.results.measured.get(verdict.condition)
    if measured is not None:
        yield Text(f"{measured_text(measured)}.", _STATE_STYLE)
    by_count: dict[int, list[str]] = {}
    for id_, count in in_fewer_blocks(verdict).items():
        by_count.setdefault(count, []).append(id_)
    if by_count:
        said = "; ".join(f"{n} blocks of {_named(ids)}" for n, ids in sorted(by_count.items()))
        yield Text(
            f"{_FEWER} {said}: their p50 is of these, comparisons are of shared blocks.",
            _STATE_STYLE,
        )


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids) if len(ids) <= _MOST_NAMES else f"{len(ids)} strategies"


def _footprint(recommendation: Recommendation, verdict: ConditionVerdict) -> Iterable[Text]:
    """What the recommended strategy takes besides time; of the others `--json` tells."""
    choice = verdict.choice
    if choice is None or not choice.measured:
        return
    trial = choice.trial
    yield Text("")
    yield Text(route_text(choice, recommendation.results.topology))
    figures = {
        "cold start": cold_start_text(trial),
        "memory": memory_text(trial),
        "energy a request": energy_text(recommendation.results, trial),
    }
    known = [f"{name} {said}" for name, said in figures.items() if not said.startswith("not ")]
    if known:
        yield Text(f"{'; '.join(known)}.", _STATE_STYLE)


def _metric(verdict: ConditionVerdict) -> str:
    metrics = {a.quality.metric for a in verdict.strategies if a.quality is not None}
    return metrics.pop() if len(metrics) == 1 else "quality"


def _marks(verdict: ConditionVerdict, assessment: Assessment) -> Text:
    first = (
        "★"
        if assessment.id == verdict.recommended
        else "≈"
        if assessment.tied_with_best
        else " "
    )  # fmt: skip
    return Text(first, "bold green").append("◆" if assessment.on_pareto_front else " ", "magenta")


def _meets(assessment: Assessment) -> Text:
    if assessment.unsuited:
        return Text("!", "yellow")
    signs = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}
    return Text(*signs[assessment.meets])


def _row_style(verdict: ConditionVerdict, assessment: Assessment) -> str:
    if assessment.id == verdict.recommended:
        return "bold"
    return "" if assessment.meets and not assessment.unsuited else "dim"


def _bar(assessment: Assessment, full_s: float, cells: int) -> Text:
    """The breakdown as a bar; where there are no numbers, what became of the trial."""
    if assessment.latency is None:
        return Text(assessment.trial.state.value, _STATE_STYLE)
    if not assessment.measured:
        low, high = (
            f"{s * 1e3:.0f}" if s >= 1 else f"{s * 1e3:.3g}"
            for s in (assessment.latency.low_s, assessment.latency.high_s)
        )
        return Text(f"{low} to {high} ms", _STATE_STYLE)
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


def _legend(recommendation: Recommendation) -> Text:
    legend = Text(style="bright_black")
    legend.append("★", "bold green").append(" recommended  ")
    legend.append("≈", "bold green").append(" tied  ")
    legend.append("◆", "magenta").append(" Pareto front  ")
    for name, glyph, style, _ in _BARS:
        legend.append(glyph, style).append(f" {name}  ")
    assessments = [a for verdict in recommendation.verdicts for a in verdict.strategies]
    if any(a.latency is not None and not a.measured for a in assessments):
        legend.append("~ predicted  ")
    if any(a.measured and a.latency is not None and a.latency.p95_s is None for a in assessments):
        legend.append("· too few samples  ")
    if any(a.meets is None and not a.unsuited for a in assessments):
        legend.append("?", "yellow").append(" too few to tell  ")
    return legend
