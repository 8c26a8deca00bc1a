"""Ask a finished study which strategy to deploy; measures nothing."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tierwise.cli.terminal import terminal
from tierwise.cli.verdict_table import verdict_view
from tierwise.recommend.as_json import as_json
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend, require_met
from tierwise.store.read import read_results


def command(
    study: Path,
    /,
    *,
    latency: str | None = None,
    max_loss: str | None = None,
    max_memory: str | None = None,
    when: str | None = None,
    every: Annotated[bool, Parameter(name="--all")] = False,
    json: bool = False,
) -> None:
    """Say which strategy of a study to deploy, and why; measures nothing.

    What is not given here is taken from the `require:` section of the study file. Exits with 4,
    after showing the table and what would have to give, where no strategy meets the requirement.

    Examples: `tierwise recommend DIR --latency p95=80ms --max-loss 1.0`,
    `tierwise recommend DIR --when edge-cloud=10Mbit`.

    Args:
        study: The study's directory, as given to `tierwise run -o`.
        latency: A percentile and the most it may be, such as p95=80ms.
        max_loss: The most points of quality that may be lost, such as 1.0.
        max_memory: The most that the process of any tier may hold, such as 512MiB.
        when: The network asked about, such as "edge-cloud=10Mbit,rtt=30ms"; several links are
            separated by a semicolon. Without it: every condition of the study.
        every: Show the table of every condition, however many there are.
        json: Print the answer as JSON, and nothing else, on standard output.
    """
    asked = Requirement.parse(latency=latency, max_loss=max_loss, max_memory=max_memory, when=when)
    results = read_results(study)
    requirement = Requirement.from_mapping(results.requirement).overridden_by(asked)
    recommendation = recommend(results, requirement)
    if json:
        terminal.json(as_json(recommendation))
    else:
        terminal.out.print(verdict_view(recommendation, width=terminal.out.width, every=every))
    require_met(recommendation)
