"""Find the best deployment of a real trained model, on this machine, in two minutes."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tierwise.cli.finish import finish
from tierwise.cli.terminal import terminal
from tierwise.study.run import run_study
from tierwise.zoo.subjects import materialise


def command(
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("tierwise-demo"),
    subject: str = "digits",
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Run a whole study of a model that comes with Tierwise.

    The model, its labelled images and the study file are written to DIR/subject, so that the
    study file is there to be read and changed. Run again, it goes on, or ends at once.

    Args:
        out: Directory of the results.
        subject: digits, an image classifier, or scenes, a segmentation net.
        fresh: Drop what an earlier demo left in the directory.
        json: Print the recommendation as JSON and nothing else on standard output.
    """
    study = materialise(subject, out / "subject", terminal)
    results = run_study(study, out, fresh=fresh, progress=terminal)
    finish(results, out, as_json=json)
