"""Output where not every sign can be written: nothing fails, and the star is still to be seen."""

import json
import os
import subprocess
import sys

import pytest

from tierwise.operators.strategy import Operator
from tierwise.testing.results import made_up_results
from tierwise.testing.stored_results import store_results


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    store_results(made_up_results(blocks=12, operators=(Operator.I, Operator.Q)), folder)
    return folder


def printed(encoding, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tierwise", *map(str, arguments)],
        capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_in_ascii_every_sign_has_a_likeness(study):
    text = printed("ascii", "recommend", study).decode("ascii")
    assert any(line.startswith("*") for line in text.splitlines())
    assert "* recommended" in text
    assert "?" not in text


def test_in_latin_1_the_signs_that_it_has_stay(study):
    text = printed("latin-1", "recommend", study).decode("latin-1")
    assert "* recommended" in text
    assert "· too few samples" in text


def test_json_is_utf_8_whatever_the_terminal_speaks(study):
    assert json.loads(printed("ascii", "recommend", study, "--json").decode("utf-8"))["met"]
