"""`kill -9` at random moments: nothing finished is lost, nothing is there twice."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]


def test_killed_at_100_random_moments_every_finished_block_is_there_once():
    # A process of its own: it forks, and pytest has threads.
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "100"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr  # the seed is in it
    assert "killed 100 times" in done.stdout
    assert "faults: none" in done.stdout
