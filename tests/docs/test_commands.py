"""Every command of the tutorial, in its order; and of the pages that ask a finished study."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tierwise.store.read import read_results
from tierwise.store.results import TrialState

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```(console|yaml)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A command with the exit code that the page promises, or a file that the reader saves."""

    text: str
    file: str | None = None
    code: int = 0


def steps_of(page):
    for kind, text in BLOCK.findall((DOCS / page).read_text("utf-8")):
        if kind == "yaml":
            named = re.match(r"# (\S+\.yaml)\n", text)
            if named:
                yield Step(text, file=named[1])
            continue
        for line in text.splitlines():
            if line.startswith("$ tierwise "):
                command, _, comment = line.removeprefix("$ ").partition("#")
                promised = re.search(r"exit code (\d)", comment)
                yield Step(command.strip(), code=int(promised[1]) if promised else 0)


def carry_out(step, folder):
    if step.file:
        (folder / step.file).write_text(step.text, "utf-8")
        return
    _, *words = shlex.split(step.text)
    done = subprocess.run(
        [sys.executable, "-m", "tierwise", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == step.code, f"{step.text}\n{done.stdout}\n{done.stderr}"
    assert (done.stdout + done.stderr).strip(), f"{step.text} said nothing"


@pytest.fixture(scope="module")
def after_the_tutorial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutorial")
    steps = list(steps_of("tutorial.md"))
    assert len(steps) > 10
    for step in steps:
        carry_out(step, folder)
    return folder


@pytest.mark.slow
@pytest.mark.xdist_group("tutorial")
def test_the_tutorial_ends_with_what_it_promises(after_the_tutorial):
    assert (after_the_tutorial / "report.html").stat().st_size > 10_000
    assert (after_the_tutorial / "rollout" / "compose.yaml").exists()
    assert list((after_the_tutorial / "files").rglob("*.onnx"))


@pytest.mark.slow
@pytest.mark.xdist_group("tutorial")
@pytest.mark.parametrize("page", ["how-to/read-the-report.md", "how-to/deploy.md"])
def test_pages_that_ask_a_finished_study(page, after_the_tutorial, tmp_path):
    """``DIR`` is a finished study there; its first tier and link are the tutorial's."""
    steps = list(steps_of(page))
    assert steps
    # Which is recommended, and which is measured as it is, depends on the machine.
    as_it_is = next(
        trial.strategy.id
        for trial in read_results(after_the_tutorial / "results").trials
        if trial.state is TrialState.MEASURED
        and trial.strategy.id.endswith("/I")
        and trial.condition.shapes["mobile-edge"].bandwidth_bit_per_s == 20e6
    )
    for number, step in enumerate(steps):
        command = step.text.replace("DIR", str(after_the_tutorial / "results"))
        command = command.replace("edge-cloud=10Mbit", "mobile-edge=20Mbit")
        command = command.replace("-o out", f"-o out{number}")
        if " deploy " in command:
            command += f" --strategy {as_it_is}"
        carry_out(Step(command, code=step.code), tmp_path)
