"""Run a study: build, evaluate, measure, recommend, report."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from tierwise.cli.finish import finish
from tierwise.cli.terminal import terminal
from tierwise.study.run import Outline, in_words, outline_study, run_study


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
        out: Directory of the results. Default: the study file's name without its suffix, here.
        plan: Show the strategies and an estimate of the time; run and write nothing.
        fresh: Drop what an earlier run left in the directory.
        json: Print the plan, or the recommendation, as JSON and nothing else on standard output.
    """
    if plan:
        _show(outline_study(study, terminal), as_json=json)
        return
    folder = out or Path(f"{study.stem}-results")
    results = run_study(study, folder, fresh=fresh, progress=terminal)
    finish(results, folder, as_json=json)


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
    table.add_column("operator", no_wrap=True)
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
    for condition in outline.conditions:
        terminal.out.print(f"under {condition.id or 'one tier'}", markup=False)
    terminal.out.print()
    terminal.out.print(in_words(outline), markup=False)
