"""A reader that has seen enough is no failure: ``| head``, ``| grep -q`` with pipefail."""

import subprocess
import sys

import pytest

from tierwise.operators.strategy import Operator
from tierwise.testing.results import made_up_results
from tierwise.testing.stored_results import store_results


@pytest.mark.parametrize("arguments", [["recommend"], ["recommend", "--json"], ["--help"]])
def test_a_pipe_that_is_closed_early_ends_the_command_well(tmp_path, arguments):
    store_results(made_up_results(blocks=12, operators=(Operator.I, Operator.Q)), tmp_path)
    where = [] if arguments == ["--help"] else [str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tierwise", *arguments, *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), said) == (0, b"")
