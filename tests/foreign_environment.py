"""Other people's programs, each in a virtual environment of its own: their packages aren't ours.

An environment lives in ``.cache/``, made once by pip, under a lock, so that parallel workers and a
second run beside this one share it. Where the index cannot be reached the test is skipped and says
so; with ``CI=true`` it fails instead.
"""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent / ".cache"
# Its client and its server, which runs a model.
KSERVE = ("kserve==0.21.0", "onnxruntime==1.22.1")


def environment(name: str, *requirements: str) -> Path:
    """The folder of an environment with ``requirements``, made if need be."""
    home = HOME / name
    done = home / "installed.json"
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or json.loads(done.read_text()) != list(requirements):
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(home)],
                [str(home / "bin" / "python"), "-m", "pip", "install", "-q", *requirements],
            ):
                made = subprocess.run(
                    command, check=False, capture_output=True, text=True, timeout=600
                )
                if made.returncode != 0:
                    missing(f"{name} cannot be installed: {made.stderr.strip()[-500:]}")
            done.write_text(json.dumps(requirements))
    return home


def missing(reason: str) -> None:
    """Skip the test, on CI fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
