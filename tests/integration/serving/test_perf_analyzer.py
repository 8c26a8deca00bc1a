"""Triton's load generator drives an agent as it would drive Triton.

It comes in tritonclient's wheel, but without two of its libraries: CUDA's runtime is fetched from
the package index, libb64 is the system's (`apt-get install libb64-0d`).
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.foreign_environment import environment, missing
from tests.integration.serving.conftest import running_agent

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("perf-analyzer")]
PROGRAM = Path(sys.executable).with_name("perf_analyzer")


@pytest.fixture(scope="module")
def libraries() -> dict[str, str]:
    """The environment variables with which it starts."""
    if not PROGRAM.exists():
        missing("there is no perf_analyzer: pip install 'tierwise[dev]'")
    home = environment("cuda-runtime", "nvidia-cuda-runtime-cu12==12.9.79")
    (runtime,) = home.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    variables = os.environ | {"LD_LIBRARY_PATH": str(runtime)}
    started = subprocess.run(
        [PROGRAM, "--version"], env=variables, capture_output=True, text=True, check=False
    )
    if started.returncode != 0:
        missing(f"{started.stderr.strip()}; on Debian: apt-get install libb64-0d")
    return variables


@pytest.fixture(scope="module")
def agent(tmp_path_factory, head_model):
    arguments = ("--model", f"affine={head_model}", "--grpc", "127.0.0.1:0")
    with running_agent(tmp_path_factory.mktemp("loaded"), *arguments) as running:
        yield running


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_it_finds_the_model_loads_the_agent_and_reads_its_statistics(
    libraries, agent, tmp_path, protocol
):
    address = agent.told["grpc"] if protocol == "grpc" else agent.url.removeprefix("http://")
    table = tmp_path / "table.csv"
    # The load goes on until three windows of 50 requests agree, to within whatever it is.
    done = subprocess.run(
        [PROGRAM, "-m", "affine", "-i", protocol, "-u", address, "--shape", "x:1,3,16,16",
         "--measurement-mode", "count_windows", "--measurement-request-count", "50",
         "--stability-percentage", "999", "--concurrency-range", "2",
         "-f", str(table), "--verbose-csv"],
        env=libraries, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert row["Concurrency"] == "2"
    assert float(row["Inferences/Second"]) > 10
    # From the agent's statistics, not from its own clock.
    assert float(row["Server Compute Infer"]) > 0
    assert "Inference count: " in done.stdout
