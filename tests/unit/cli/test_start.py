"""A user waits for what a command imports: the heavy packages only where they are needed."""

import subprocess
import sys

import pytest

from tierwise.testing.results import made_up_results
from tierwise.testing.stored_results import store_results

HEAVY = ("scipy.stats", "scipy.sparse", "altair", "onnx", "onnx_ir", "onnxruntime")


def imported(code, *arguments):
    """Which of the heavy packages a fresh Python has imported after ``code``."""
    said = f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", said, *map(str, arguments)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "from tierwise.study.parse import parse_study\nparse_study('model: m.onnx')",
        "import tierwise.cli.app",
    ],
)
def test_reading_a_study_file_needs_no_package_that_runs_models(code):
    assert imported(code) == []


def test_a_finished_study_is_asked_without_waiting_for_statistics_that_it_does_not_need(tmp_path):
    study = store_results(made_up_results(blocks=30), tmp_path / "s")
    code = """
from tierwise.recommend.verdict import recommend
from tierwise.store.read import read_results
from pathlib import Path
assert recommend(read_results(Path(sys.argv[1]))).verdict
"""
    assert imported(code, study) == []
