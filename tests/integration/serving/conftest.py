import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tierwise.serving.client import AgentClient


@dataclass
class RunningAgent:
    """A real `tierwise serve` process."""

    url: str
    tier: str
    process: subprocess.Popen
    cache: Path
    errors: list[str]
    told: dict[str, str]
    reader: threading.Thread

    def stop(self) -> None:
        """Tell it to stop, and wait until it has said everything."""
        self.process.terminate()
        assert self.process.wait(20) == 0
        self.reader.join(10)

    def client(self, **options) -> AgentClient:
        return AgentClient(self.url, **options)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])


StartAgent = Callable[..., RunningAgent]


def end_process(process: subprocess.Popen) -> None:
    """Ask it to end, and make it."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running_agent(
    folder: Path,
    *arguments: str,
    tier: str = "edge",
    listen: str = "127.0.0.1:0",
    cache: Path | None = None,
):
    cache = cache or folder / "cache"
    command = [
        sys.executable, "-m", "tierwise", "serve",
        "--tier", tier, "--listen", listen, "--cache", str(cache), *arguments,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    try:
        line = process.stdout.readline()
        if not line:
            process.wait(10)
            reader.join(10)
            pytest.fail(f"the agent ended: {''.join(errors)}")
        told = json.loads(line)
        yield RunningAgent(told["listening"], told["tier"], process, cache, errors, told, reader)
    finally:
        end_process(process)
        reader.join(10)
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[StartAgent]:
    with contextlib.ExitStack() as stack:
        count = 0

        def start(*arguments: str, **options) -> RunningAgent:
            nonlocal count
            count += 1
            folder = tmp_path / f"agent{count}"
            return stack.enter_context(running_agent(folder, *arguments, **options))

        yield start


def save_affine(path: Path, scale: float, offset: float, names=("x", "y"), channels: int = 3):
    """`y = scale * x + offset` over NCHW floats with free height and width."""
    shape = [1, channels, "h", "w"]
    graph = helper.make_graph(
        [
            helper.make_node("Mul", [names[0], "scale"], ["scaled"], name="mul"),
            helper.make_node("Add", ["scaled", "offset"], [names[1]], name="add"),
        ],
        "affine",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, shape)],
        [
            onnx.numpy_helper.from_array(np.float32(scale), "scale"),
            onnx.numpy_helper.from_array(np.float32(offset), "offset"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def head_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_affine(tmp_path_factory.mktemp("models") / "head.onnx", 2.0, 1.0, ("x", "mid"))


@pytest.fixture(scope="session")
def tail_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_affine(tmp_path_factory.mktemp("models") / "tail.onnx", 10.0, -3.0, ("mid", "y"))


@pytest.fixture(scope="session")
def multipliers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Models of one size that multiply by 1, 2, 3, 4."""
    folder = tmp_path_factory.mktemp("models")
    found = [save_affine(folder / f"{n}.onnx", n, 0.0) for n in range(1, 5)]
    assert len({path.stat().st_size for path in found}) == 1
    return found


@pytest.fixture(scope="session")
def edge(tmp_path_factory, head_model) -> Iterator[RunningAgent]:
    """One agent for all tests that leave it as they found it; it serves `affine`."""
    folder = tmp_path_factory.mktemp("edge")
    with running_agent(folder, "--model", f"affine={head_model}") as agent:
        yield agent


@pytest.fixture(scope="session")
def mobile(tmp_path_factory) -> Iterator[RunningAgent]:
    """The tier before it."""
    with running_agent(tmp_path_factory.mktemp("mobile"), tier="mobile") as agent:
        yield agent
