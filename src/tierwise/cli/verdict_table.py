"""A recommendation in the terminal: the table of strategies, and the verdict under it."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from tierwise.cli.strategy_table import FEWER, legend, strategy_table
from tierwise.cli.sweep_table import sweep_lines
from tierwise.recommend.blocks import in_fewer_blocks, measured_text
from tierwise.recommend.footprint import (
    cold_start_text,
    energy_text,
    memory_text,
)
from tierwise.recommend.outlook import Outlook
from tierwise.recommend.phrases import under
from tierwise.recommend.recommendation import ConditionVerdict, Recommendation
from tierwise.recommend.route import route_text
from tierwise.recommend.words import sweep_text

# A table a condition up to this many; beyond, one line a condition says more.
_MOST_TABLES = 2
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
        shown.append(legend(recommendation, width))
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
        said = f"{measured_text(measured)}. A block: one request to each, all with one input."
        yield Text(said, _STATE_STYLE)
    by_count: dict[int, list[str]] = {}
    for id_, count in in_fewer_blocks(verdict).items():
        by_count.setdefault(count, []).append(id_)
    if by_count:
        said = "; ".join(f"{n} blocks of {_named(ids)}" for n, ids in sorted(by_count.items()))
        yield Text(
            f"{FEWER} {said}: their p50 is of these, comparisons are of shared blocks.",
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
    yield Text(f"Route of {choice.id}: what links carry and how long, what [computes].")
    yield Text(f"  {route_text(choice, recommendation.results.topology)}")
    figures = {
        "cold start": cold_start_text(trial),
        "memory": memory_text(trial),
        "energy a request": energy_text(recommendation.results, trial),
    }
    known = [f"{name} {said}" for name, said in figures.items() if not said.startswith("not ")]
    if known:
        yield Text(f"{'; '.join(known)}.", _STATE_STYLE)
