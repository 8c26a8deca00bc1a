"""The bound of an agent's cache, against real agents."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tierwise.errors import TierFault
from tierwise.operators.strategy import Operator, Strategy
from tierwise.serving.artifacts import sha256_of
from tierwise.serving.client import AgentClient
from tierwise.serving.stage import StageSpec
from tierwise.study.deployment import Deployment
from tierwise.study.segments import Segment
from tierwise.tiers.topology import Tier, Topology

pytestmark = pytest.mark.xdist_group("serving")
X = {"x": np.ones((1, 3, 2, 2), np.float32)}


def _load(client: AgentClient, name: str, path: Path, **options: object) -> str:
    sha256 = client.put_artifact(path)
    client.load(StageSpec(name=name, artifact=sha256, **options), path)
    return sha256


def _answer(client: AgentClient, name: str) -> float:
    return float(client.infer(name, X).outputs["y"].flat[0])


def _metrics(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        lines = reply.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("tierwise_cache"))
    return {name.split("{")[0]: float(value) for name, value in pairs}


def test_loaded_models_keep_their_files_and_others_make_room(start_agent, multipliers):
    size = multipliers[0].stat().st_size
    agent = start_agent("--cache-size", f"{2 * size}B", "--log-format", "json")
    with agent.client() as client:
        # In every request it opens its file: it would fail without.
        first = _load(client, "first", multipliers[0], session="per-request")
        os.utime(agent.cache / f"{first}.onnx", (1, 1))  # the least recently used by far
        second = client.put_artifact(multipliers[1])
        third = _load(client, "third", multipliers[2])
        assert {path.stem for path in agent.cache.glob("*.onnx")} & {first, second} == {first}
        assert (_answer(client, "first"), _answer(client, "third")) == (1, 3)
        with pytest.raises(TierFault, match=r"503.*no room.*in use.*cache-size") as refused:
            client.put_artifact(multipliers[3])
        assert "Unload models there" in refused.value.hint
        metrics = _metrics(agent.url)
        assert metrics["tierwise_cache_bytes"] == metrics["tierwise_cache_limit_bytes"] == 2 * size
        assert metrics["tierwise_cache_removed_files_total"] == 1
        assert metrics["tierwise_cache_removed_bytes_total"] == size
        client.unload("first")
        _load(client, "fourth", multipliers[3])
        assert _answer(client, "fourth") == 4
        assert not (agent.cache / f"{first}.onnx").exists()
        # What was unloaded was used until now: another one, loaded later and unloaded sooner, goes.
        client.unload("fourth")
        os.utime(agent.cache / f"{client.put_artifact(multipliers[2])}.onnx", (1, 1))
        client.unload("third")
        client.put_artifact(multipliers[0])
        assert (agent.cache / f"{third}.onnx").exists()
    agent.stop()
    assert sum(f"removed {second}.onnx" in line for line in agent.errors) == 1


def test_a_file_that_vanished_before_it_was_loaded_is_sent_again(start_agent, multipliers):
    agent = start_agent()
    with agent.client() as client:
        sha256 = client.put_artifact(multipliers[0])
        stage = StageSpec(name="m", artifact=sha256)
        (agent.cache / f"{sha256}.onnx").unlink()
        with pytest.raises(TierFault, match=rf"404.*no artefact {sha256}\. Send it first"):
            client.load(stage)
        client.load(stage, multipliers[0])
        assert _answer(client, "m") == 1


class _OneTier:
    """What a study's deployment needs of running tiers: one agent that is there already."""

    topology = Topology((Tier("edge"),))

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, _source: str, _target: str) -> str:
        return self._url

    def dial(self, _source: str, host: str, port: int) -> socket.socket:
        return socket.create_connection((host, port))


def test_a_study_sends_a_segment_again_that_vanished_before_it_was_loaded(
    start_agent, multipliers, monkeypatch
):
    agent = start_agent()
    path = multipliers[0]
    put = AgentClient.put_artifact

    def put_and_lose(client: AgentClient, file: Path) -> str:
        monkeypatch.setattr(AgentClient, "put_artifact", put)
        sha256 = put(client, file)
        (agent.cache / f"{sha256}.onnx").unlink()  # as an agent that shares the folder may
        return sha256

    monkeypatch.setattr(AgentClient, "put_artifact", put_and_lose)
    segment = Segment("edge", sha256_of(path), path, path.stat().st_size)
    strategy = Strategy(Operator.I, "I", ("edge",), ())
    deployment = Deployment(_OneTier(agent.url), SimpleNamespace(preprocess=None), "any")
    deployment.load(strategy, [segment])
    assert float(deployment.infer(strategy, X).outputs["y"].flat[0]) == 1
    deployment.unload(strategy)
    (agent.cache / f"{segment.sha256}.onnx").unlink()
    deployment.loads(strategy)["edge"]()
    assert float(deployment.infer(strategy, X).outputs["y"].flat[0]) == 1
    deployment.close()


def test_two_agents_that_share_a_folder_leave_each_other_what_they_use(
    start_agent, multipliers, tmp_path
):
    shared, size = tmp_path / "shared", multipliers[0].stat().st_size
    bound = ["--cache-size", f"{2 * size}B"]
    one, other = start_agent(*bound, cache=shared), start_agent(*bound, cache=shared)
    with one.client() as first, other.client() as second:
        _load(first, "m", multipliers[0], session="per-request")
        for number in (1, 2, 3, 1):  # each makes the one before it go, never the first
            _load(second, "m", multipliers[number])
            assert (_answer(first, "m"), _answer(second, "m")) == (1, number + 1)
            second.unload("m")
        assert len(list(shared.glob("*.onnx"))) == 2
    # Who comes next finds a cache, and what was held is so no longer.
    one.stop()
    with start_agent(*bound, cache=shared).client() as third:
        _load(third, "a", multipliers[2])
        _load(third, "b", multipliers[3])
        assert (_answer(third, "a"), _answer(third, "b")) == (3, 4)


def test_a_cache_without_a_bound(start_agent, multipliers):
    agent = start_agent("--cache-size", "none")
    assert _metrics(agent.url)["tierwise_cache_limit_bytes"] == float("inf")
    with agent.client() as client:
        client.put_artifact(multipliers[0])
        assert _metrics(agent.url)["tierwise_cache_bytes"] == multipliers[0].stat().st_size


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--cache", "/proc/version/x"), 3, r"cache folder /proc/version/x cannot be made"),
        (("--cache-size", "much"), 2, r"'much' is not a size"),
    ],
)
def test_a_cache_that_cannot_be_is_an_error(arguments, code, message):
    command = [sys.executable, "-m", "tierwise", "serve", "--listen", "127.0.0.1:0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert re.search(message, " ".join(done.stderr.split()))
