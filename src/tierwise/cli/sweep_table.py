"""Many network conditions in the terminal: a line each, and below it how they were measured."""

from collections.abc import Iterable, Sequence
from string import ascii_lowercase

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tierwise.caveats import WarningKind
from tierwise.cli.figures import decimals, figures, what
from tierwise.recommend.recommendation import Assessment, ConditionVerdict
from tierwise.store.measured import Measured
from tierwise.store.results import StudyResults
from tierwise.tiers.topology import LinkShape
from tierwise.units import format_duration

# From here on, cuts fit as well.
_WIDE = 116
_STYLE = "bright_black"


def sweep_lines(
    verdicts: Sequence[ConditionVerdict], results: StudyResults, width: int
) -> Iterable[RenderableType]:
    """What to print: what all conditions share, the table, and its notes."""
    same, varying = _links(verdicts)
    if same:
        yield Text(same, style="bold")
    measured = [results.measured.get(verdict.condition) for verdict in verdicts]
    letters = _letters(measured)
    # In a narrow terminal the space between columns is what the last one needs.
    space = 2 if width >= 80 else 1
    table = Table(box=None, padding=(0, space, 0, 0), header_style=_STYLE, pad_edge=False)
    for link in varying:
        table.add_column(link, justify="right", no_wrap=True)
    table.add_column("recommended", no_wrap=True, style="bold")
    for name in ("p50 ms", "p95 ms", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    counted = any(of is not None for of in measured)
    if counted:
        table.add_column("blocks", justify="right", no_wrap=True)
        # Of the blocks; beside them, so that their figures stay aligned.
        table.add_column("", no_wrap=True)
    if any(verdict.tied for verdict in verdicts):
        table.add_column("tied with", overflow="fold")
    known = [v.choice.latency.p50_s for v in verdicts if v.choice and v.choice.latency]
    digits = decimals(known)
    for verdict, of in zip(verdicts, measured, strict=True):
        shapes = [one[verdict.condition.shapes[link]] for link, one in varying.items()]
        count = ["·" if of is None else str(len(of.blocks)), _marks(of, letters)][: 2 * counted]
        if verdict.choice is None:
            said = Text("not measured yet", "yellow") if verdict.waiting else _NONE
            table.add_row(*shapes, said, "·", "·", "·", *count)
            continue
        p50, p95, _, loss = figures(verdict.choice, digits)
        row = [_id(verdict.choice, width), p50, p95, loss, *count]
        if verdict.tied:
            row.append(", ".join(_id(a, width) for a in verdict.tied))
        table.add_row(*shapes, *row)
    yield table
    yield ""
    yield from _notes(verdicts, measured, letters, results)


_NONE = Text("none meets it", "red")


def _links(
    verdicts: Sequence[ConditionVerdict],
) -> tuple[str, dict[str, dict[LinkShape, str]]]:
    """What is alike everywhere, and for each link that is not, its shapes in words."""
    conditions = [verdict.condition for verdict in verdicts]
    same, varying = [], {}
    for link in conditions[0].shapes:
        shapes = list(dict.fromkeys(c.shapes[link] for c in conditions))
        rates = {shape.bandwidth_bit_per_s for shape in shapes}
        rtts_s = {shape.rtt_s for shape in shapes}
        if len(shapes) == 1:
            same.append(f"{link} {shapes[0]}")
        elif len(rates) == 1:
            same.append(f"{link} {shapes[0].rate_text}")
            varying[link] = {shape: f"rtt {format_duration(shape.rtt_s)}" for shape in shapes}
        elif len(rtts_s) == 1:
            if shapes[0].rtt_s:
                same.append(f"{link} rtt {format_duration(shapes[0].rtt_s)}")
            varying[link] = {shape: shape.rate_text for shape in shapes}
        else:
            varying[link] = {shape: str(shape) for shape in shapes}
    return "; ".join(same), varying


def _id(assessment: Assessment, width: int) -> str:
    """The strategy's id; without its cuts where they would not fit."""
    if width >= _WIDE:
        return assessment.id
    return f"{assessment.trial.strategy.placement}/{what(assessment)}"


def _letters(measured: Sequence[Measured | None]) -> dict[str, str]:
    """A letter for each reason why measuring stopped; none where it is the same for all."""
    reasons = dict.fromkeys(of.stopped for of in measured if of is not None and of.stopped)
    if len(reasons) < 2:
        return dict.fromkeys(reasons, "")
    return dict(zip(reasons, ascii_lowercase, strict=False))


def _marks(measured: Measured | None, letters: dict[str, str]) -> str:
    """``"a!"``: why there are no more blocks, and whether some of them were disturbed."""
    if measured is None:
        return ""
    return letters.get(measured.stopped, "") + ("!" if measured.disturbed else "")


def _notes(
    verdicts: Sequence[ConditionVerdict],
    measured: Sequence[Measured | None],
    letters: dict[str, str],
    results: StudyResults,
) -> Iterable[Text]:
    """Why measuring stopped, what was disturbed or late, and what the signs mean."""
    there = [of for of in measured if of is not None]
    for reason, letter in letters.items():
        opening = f"{letter}  no more blocks, because" if letter else "No more blocks, because"
        yield Text(f"{opening} {reason}.", _STYLE)
    disturbed = sum(len(of.disturbed) for of in there)
    if disturbed:
        blocks = sum(len(of.blocks) for of in there)
        yield Text(
            f"!  {disturbed} of all {blocks} blocks were disturbed; `--json` says by what.", _STYLE
        )
    late = [of.late_share for of in there if of.late_share is not None]
    if late:
        yield Text(f"Requests sent late: {min(late):.1%} to {max(late):.1%}.", _STYLE)
    choices = [v.choice.latency for v in verdicts if v.choice is not None and v.choice.latency]
    if any(v.choice is not None and v.choice.quality is not None for v in verdicts):
        yield Text("loss: percentage points of quality lost; below 0: gained.", _STYLE)
    if any(latency.measured and latency.p95_s is None for latency in choices):
        yield Text("·  too few samples: p95 needs 90.", _STYLE)
    yield from _warnings(results)
    if any(not latency.measured for latency in choices):
        yield Text("~  predicted.", _STYLE)


def _warnings(results: StudyResults) -> Iterable[Text]:
    """What to know before believing any of it: a line a kind; the report has all of each."""
    networks = {condition.id for condition in results.conditions}
    by_kind: dict[WarningKind, list[str]] = {}
    for warning in results.warnings:
        by_kind.setdefault(warning.kind, []).append(warning.subject)
    for kind, subjects in by_kind.items():
        about = [name for name in dict.fromkeys(subjects) if name and name not in networks]
        count = len(networks.intersection(subjects))
        if count:
            about.append(f"{count} of {len(networks)} networks")
        said = f" ({', '.join(about)})" if about else ""
        yield Text(f"Beware: {kind.value}{said}; the report has the figures.", "yellow")
