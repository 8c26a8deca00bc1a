"""Run a study: build, evaluate, measure, recommend, report."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from tierwise.cli.terminal import terminal
from tierwise.study.run import Outline, in_words, outline_study, run_study
from tierwise.tiers.topology import NetworkCondition

_MOST_LISTED = 6  # network conditions of a plan in a line each


def command(
    study: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    plan: bool = False,
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Run a study file and say which strategy to deploy.

    Everything that is finished is kept in the directory as it goes. Stopped at any moment
    (Ctrl-C, a crash, a reboot), the same command goes on where it stopped.

    Examples: `tierwise run study.yaml --plan`, `tierwise run study.yaml -o results`.

    Args:
        study: The study file; `tierwise init MODEL.onnx -o study.yaml` writes one.
        out: Directory of the results. Default: here, `study-results` for study.yaml.
        plan: Show the strategies and an estimate of the time; run and write nothing.
        fresh: Drop what an earlier run left in the directory.
        json: Print the plan, or the recommendation, as JSON and nothing else on standard output.
    """
    if plan:
        _show(outline_study(study, terminal), as_json=json)
        terminal.say(f"Run it: tierwise run {study} -o {_folder(study, out)}")
        return
    folder = _folder(study, out)
    # Charts are a quarter of what there is to import, and a plan has none.
    from tierwise.cli.finish import finish  # noqa: PLC0415

    results = run_study(study, folder, fresh=fresh, progress=terminal)
    finish(results, folder, as_json=json)


def _folder(study: Path, out: Path | None) -> Path:
    return out or Path(f"{study.stem}-results")


def _show(outline: Outline, *, as_json: bool) -> None:
    if as_json:
        terminal.json(
            {
                "strategies": [
                    {"id": one.id, "operator": one.operator.value, "tiers": list(one.tiers)}
                    for one in outline.placements
                ],
                "conditions": [condition.id for condition in outline.conditions],
                "measured": outline.strategies,
                "samples": outline.samples,
                "estimate_s": round(outline.estimate_s, 1),
            }
        )
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black", pad_edge=False)
    table.add_column("what", no_wrap=True)
    table.add_column("", style="bright_black", no_wrap=True)
    table.add_column("where")
    where: dict[str, list[str]] = {}
    titles = {}
    for one in outline.placements:
        where.setdefault(one.operator.value, []).append("-".join(one.tiers))
        titles[one.operator.value] = one.operator.title
    for operator, places in where.items():
        table.add_row(operator, titles[operator], "  ".join(places))
    terminal.out.print(table)
    terminal.out.print()
    for line in _networks(outline.conditions):
        terminal.out.print(line, markup=False)
    terminal.out.print()
    terminal.out.print(in_words(outline), markup=False)


def _networks(conditions: Sequence[NetworkCondition]) -> Iterable[str]:
    """A line a condition; of many, a line a link with what it is swept over."""
    if len(conditions) <= _MOST_LISTED:
        yield from (f"under {condition.id or 'one tier'}" for condition in conditions)
        return
    yield f"under {len(conditions)} network conditions, every one of"
    for link in conditions[0].shapes:
        shapes = dict.fromkeys(str(condition.shapes[link]) for condition in conditions)
        yield f"  {link}: {'; '.join(shapes)}"
