"""Write a commented study file for a model."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tierwise.cli.terminal import terminal
from tierwise.disk import write_whole
from tierwise.errors import UserError
from tierwise.study.draft import draft_study


def command(
    model: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("study.yaml"),
    data: Path | None = None,
    force: bool = False,
) -> None:
    """Write a study file for a model, with what could be found out filled in.

    The task is guessed from the outputs, the pre-processing from the input's shape; both are
    marked, so that you can correct them.

    Examples: `tierwise init model.onnx -o study.yaml --data images`.

    Args:
        model: The ONNX file.
        out: The study file to write.
        data: A folder of images (labels.csv in or beside it is found), or an .npz of tensors.
        force: Write over a file that is there.
    """
    if out.exists() and not force:
        raise UserError(
            f"{out} is there already.", hint="Choose another with `-o FILE`, or add `--force`."
        )
    text = draft_study(model, out, data)
    write_whole(out, text)
    terminal.say(f"Wrote {out}. Read it, then: tierwise run {out} --plan")
