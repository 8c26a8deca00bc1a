"""Whole studies by a user without rights: what Tierwise then does, and that it says so."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.integration.study.conftest import make_subject
from tests.integration.unprivileged import NOBODY, unprivileged

from tierwise.store.read import read_results
from tierwise.store.results import TrialState

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("machine"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nobody is Linux's"),
]


@pytest.fixture
def home():
    """A folder that others may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="tierwise-nobody-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize("backend", ["auto", "userspace"])
def test_a_study_needs_no_rights_and_says_what_it_did_without(home, backend):
    study = make_subject(home / "subject")
    text = (
        study.read_text()
        .replace("[I, Q, E, P, QEP]", "[I, P]")
        .replace("[20Mbit, 100Mbit]", "50Mbit")
    )
    study.write_text(text.replace("samples: 6", f"samples: 6, backend: {backend}"))
    command = [sys.executable, "-m", "tierwise", "run", str(study), "-o", str(home / "out")]
    ran = subprocess.run(
        unprivileged(command, home),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=home,
        env={**os.environ, "HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = read_results(home / "out")
    assert len(results.trials) == 3
    assert all(trial.state is TrialState.MEASURED for trial in results.trials)
    said = results.environment
    by_user = "network namespaces (user namespace)"
    if backend == "userspace" or not may_make_links(home):
        by_user = "user-space relay"
    assert said["links"].startswith(by_user)
    assert "stopped by signals" in said["cpu@mobile"]
    assert "resident size watched" in said["memory@mobile"]
    if os.geteuid() == 0:
        assert (home / "out" / "tierwise.db").stat().st_uid == NOBODY
        assert processes_of(NOBODY, str(home)) == []


def may_make_links(home):
    """Whether the user may have network namespaces and set them up."""
    needed = "exec 3<>/proc/sys/net/ipv4/ip_forward"
    made = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", needed]
    command = unprivileged(made, home)
    return subprocess.run(command, capture_output=True, check=False, cwd=home).returncode == 0


def processes_of(uid, marker):
    """Command lines of a user's processes that name ``marker``."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == uid and marker.encode() in (path / "cmdline").read_bytes():
                found.append((path / "cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
