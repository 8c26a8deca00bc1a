"""How a run ends, for every command that runs a study: the verdict, and the report."""

from pathlib import Path

from tierwise.cli.terminal import terminal
from tierwise.cli.verdict_table import verdict_view
from tierwise.recommend.as_json import as_json as recommendation_json
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend, require_met
from tierwise.report.write import write_report
from tierwise.store.results import StudyResults


def finish(results: StudyResults, folder: Path, *, as_json: bool) -> None:
    """Write the report of ``results`` into ``folder`` and print the verdict.

    Raises:
        RequirementNotMet: no strategy meets the study's requirement; everything is written.
    """
    recommendation = recommend(results, Requirement.from_mapping(results.requirement))
    with terminal.task("Writing the report", None):
        report, *_ = write_report(results, recommendation, folder / "report.html")
    if as_json:
        terminal.json(recommendation_json(recommendation))
    else:
        terminal.out.print(verdict_view(recommendation, width=terminal.out.width))
    terminal.say(f"Report: {report}")
    require_met(recommendation)
