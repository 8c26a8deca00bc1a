"""`kill -9` at random moments: nothing finished is lost, nothing is there twice."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]


# 100 moments of runs of a loaded process, and a few of whole commands; 100 of those take a quarter
# of an hour: `python tests/integration/study/killing.py --whole`.
@pytest.mark.parametrize(("kills", "options"), [(100, ()), (3, ("--whole",))])
def test_killed_at_random_moments_every_finished_block_is_there_once(kills, options):
    # A process of its own: it forks, and pytest has threads.
    command = [sys.executable, str(Path(__file__).with_name("killing.py")), "--kills", str(kills)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # the seed is in it
    assert f"killed {kills} times" in done.stdout
    assert "faults: none" in done.stdout
