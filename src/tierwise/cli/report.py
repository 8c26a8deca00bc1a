"""Write the report of a study again: HTML, Markdown, CSV or LaTeX."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tierwise.cli.terminal import terminal
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend
from tierwise.report.write import write_report
from tierwise.store.read import read_results


def command(
    study: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    format: str = "html",  # noqa: A002 - the flag's name
    latency: str | None = None,
    max_loss: str | None = None,
    max_memory: str | None = None,
    when: str | None = None,
) -> None:
    """Write the report of a study from what is stored; measures nothing.

    The HTML report is one file that needs no network: mail it, archive it, print it. Without
    `-o` it is written into the study's directory.

    Args:
        study: The study's directory, as given to `tierwise run -o`.
        out: A file or a directory to write to.
        format: html, markdown (with the charts as PNG and SVG), csv or latex.
        latency: As for `tierwise recommend`; without it, what the study file requires.
        max_loss: As for `tierwise recommend`.
        max_memory: As for `tierwise recommend`.
        when: As for `tierwise recommend`.
    """
    asked = Requirement.parse(latency=latency, max_loss=max_loss, max_memory=max_memory, when=when)
    results = read_results(study)
    requirement = Requirement.from_mapping(results.requirement).overridden_by(asked)
    # One file belongs beside the study's own; several get a folder.
    place = out or (study if format == "html" else study / "report")
    written = write_report(results, recommend(results, requirement), place, format)
    for path in written:
        terminal.out.print(str(path), soft_wrap=True, markup=False)
