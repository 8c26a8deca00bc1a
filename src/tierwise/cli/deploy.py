"""Write the files that deploy what a study recommends: Compose, Kubernetes, or plain files."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tierwise.cli.terminal import terminal
from tierwise.deploy.study_files import deploy_study
from tierwise.errors import UserError
from tierwise.recommend.requirement import Requirement


def command(
    study: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    to: str = "compose",
    strategy: str | None = None,
    url: Annotated[list[str], Parameter(negative=())] | None = None,
    latency: str | None = None,
    max_loss: str | None = None,
    max_memory: str | None = None,
    when: str | None = None,
) -> None:
    """Write the recommended strategy's segments and the manifests that run them.

    The segments are the very files that were measured (their hashes are checked and written
    beside them), the limits are those of the measurement. OUT/README.md has the commands that
    start it.

    Args:
        study: The study's directory, as given to `tierwise run -o`.
        out: A new directory.
        to: compose, kubernetes, or files (for machines of your own).
        strategy: Deploy this strategy instead of the recommended one.
        url: With `--to files`: TIER=http://HOST:PORT for every tier but the first; may be given
            several times.
        latency: As for `tierwise recommend`.
        max_loss: As for `tierwise recommend`.
        max_memory: As for `tierwise recommend`.
        when: As for `tierwise recommend`.
    """
    asked = Requirement.parse(latency=latency, max_loss=max_loss, max_memory=max_memory, when=when)
    written = deploy_study(
        study, asked, out, to=to, strategy_id=strategy, urls=dict(map(_parse_url, url or []))
    )
    for path in written.files:
        terminal.out.print(str(path), soft_wrap=True, markup=False)
    terminal.say(f"{out / 'README.md'} has the commands that start {written.strategy_id}.")


def _parse_url(text: str) -> tuple[str, str]:
    tier, separator, address = text.partition("=")
    if not separator or not tier or not address.startswith(("http://", "https://")):
        raise UserError(
            f"--url {text!r} names no tier's address.", hint="Write --url cloud=http://HOST:8080."
        )
    return tier, address
