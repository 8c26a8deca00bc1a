"""Predict every strategy of a study under networks that it did not measure."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tierwise.cli.terminal import terminal
from tierwise.recommend.outlook import predict
from tierwise.recommend.outlook_json import outlook_json
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import require_met
from tierwise.store.read import read_results


def command(
    study: Path,
    /,
    *,
    when: str | None = None,
    latency: str | None = None,
    max_loss: str | None = None,
    max_memory: str | None = None,
    every: Annotated[bool, Parameter(name="--all")] = False,
    json: bool = False,
) -> None:
    """Predict every strategy under other networks, and where the best one changes.

    Measures nothing: a model fitted to the study's trials. Numbers with `~` are predicted, with
    their interval beside them. What is not given here is taken from the `require:` section of the
    study file. Exits with 4 where no strategy is predicted to meet the requirement.

    Example: `tierwise predict DIR --when "edge-cloud=25Mbit,rtt=30ms"`.

    Args:
        study: The study's directory, as given to `tierwise run -o`.
        when: The network asked about, such as "edge-cloud=25Mbit,rtt=30ms"; several links are
            separated by a semicolon, links not named are as in the study. Without it: the
            study's own conditions, and the bandwidths between them at which the best changes.
        latency: A percentile and the most it may be, such as p95=80ms.
        max_loss: The most points of quality that may be lost, such as 1.0.
        max_memory: The most that the process of any tier may hold, such as 512MiB.
        every: Show the table of every condition, however many there are.
        json: Print the answer as JSON, and nothing else, on standard output.
    """
    asked = Requirement.parse(latency=latency, max_loss=max_loss, max_memory=max_memory, when=when)
    results = read_results(study)
    requirement = Requirement.from_mapping(results.requirement).overridden_by(asked)
    outlook = predict(results, requirement)
    if json:
        terminal.json(outlook_json(outlook))
    else:
        # Tables are half of what there is to import.
        from tierwise.cli.verdict_table import outlook_view  # noqa: PLC0415

        terminal.out.print(outlook_view(outlook, width=terminal.out.width, every=every))
    require_met(outlook.recommendation)
