"""Write what was measured as CSV or Parquet tables, or log it to MLflow."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tierwise.cli.terminal import terminal
from tierwise.report.export import export
from tierwise.store.read import read_results


def command(
    study: Path,
    /,
    *,
    to: str = "csv",
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
) -> None:
    """Write what was measured as tables for other programs; measures nothing.

    `samples` has a row for every timed request with its breakdown, `trials` one for every
    strategy under every network, `blocks` one for every block with the machine's condition, and
    `scores` one for every variant and evaluation input. MLflow gets
    a run for every trial and one for the study, which has the report; exported again, what has not
    changed stays. Its store is `mlflow.db` in the directory, unless MLFLOW_TRACKING_URI is set.

    Args:
        study: The study's directory, as given to `tierwise run -o`.
        to: csv, parquet (needs the extra `parquet`) or mlflow (needs the extra `mlflow`).
        out: Directory to write to; by default `export` in the study's directory.
    """
    for path in export(read_results(study), out or study / "export", to):
        terminal.out.print(str(path), soft_wrap=True, markup=False)
