"""A full disk ends a run with a clear message, nothing half-written; with space it goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]
# As root a mount namespace will do; everybody else needs a user namespace around it.
WAYS = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])


def way_to_mount(folder: Path) -> list[str]:
    """The command that lets a file system be mounted which nobody else sees."""
    said = ""
    for way in WAYS:
        command = [*way, "mount", "-t", "tmpfs", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("util-linux's `unshare` is not installed")
        if done.returncode == 0:
            return way
        said = done.stderr.strip()
    pytest.skip(f"no file system can be mounted here, not even in a user namespace: {said}")


def test_a_study_on_a_disk_that_is_really_full_stops_clean_and_goes_on(tmp_path):
    script = Path(__file__).with_name("full_disk.py")
    done = subprocess.run(
        [*way_to_mount(tmp_path), sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("then to the end") == 4
