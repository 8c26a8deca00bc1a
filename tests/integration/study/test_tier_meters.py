"""Recipes timed on a real agent."""

import contextlib
import hashlib
import json
import math
import subprocess
import sys

import pytest

from tierwise.errors import TierFault
from tierwise.operators.quantize import LocalMeter, Recipe
from tierwise.operators.quantize.build import Builder
from tierwise.runtime.instructions import cpu_instructions
from tierwise.serving.client import AgentClient
from tierwise.serving.stage import StageSpec
from tierwise.study.parse import parse_study
from tierwise.study.tier_meters import agent_meter, tier_meters
from tierwise.testing.subjects import residual_classifier
from tierwise.tiers.topology import Tier, Topology


@pytest.fixture(scope="module")
def subject():
    return residual_classifier(channels=16, blocks=2, size=16, count=12)


@pytest.fixture(scope="module")
def agent_url(tmp_path_factory):
    cache = tmp_path_factory.mktemp("agent")
    command = [sys.executable, "-m", "tierwise", "--quiet", "serve", "--tier", "cloud",
               "--listen", "127.0.0.1:0", "--cache", str(cache)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["listening"]
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


@pytest.fixture(scope="module")
def models(subject):
    builder = Builder(subject.graph, [subject.calibration.feeds(i) for i in range(6)])
    return builder.model, builder.build(Recipe())


def test_an_agent_compares_both_models_and_keeps_neither(subject, agent_url, models):
    fp32, int8 = models
    feeds = [subject.calibration.feeds(i) for i in range(4)]
    with agent_meter(Tier("cloud", url=agent_url), feeds) as meter:
        assert meter.instructions == cpu_instructions()
        same = meter.ratio(fp32, fp32)
        assert 0.3 < same < 3
        ratio = meter.ratio(int8, fp32)
        assert 0 < ratio < 10
        with AgentClient(agent_url) as client:
            assert len(client.index()) == 1  # fp32, for the next recipe
    with AgentClient(agent_url) as client:
        assert client.index() == []


def test_what_the_agent_cannot_load_is_no_number(subject, agent_url, models):
    feeds = [subject.calibration.feeds(0)]
    with agent_meter(Tier("cloud", url=agent_url), feeds) as meter:
        assert math.isnan(meter.ratio(b"not a model", models[0]))
    with AgentClient(agent_url) as client:
        assert client.index() == []


def test_execution_providers_that_a_tier_lacks_are_no_number(subject, agent_url, models):
    """An agent is asked with the tier's providers, here one that no CPU build has."""
    feeds = [subject.calibration.feeds(0)]
    tier = Tier("cloud", url=agent_url, providers=("CUDAExecutionProvider",))
    with agent_meter(tier, feeds) as meter:
        assert math.isnan(meter.ratio(models[1], models[0]))
    emulated = Topology((Tier("mobile"), Tier("edge", providers=("XNNPACKExecutionProvider",))))
    with tier_meters(emulated, subject.calibration) as meters:
        assert set(meters) == {"mobile", "edge"}


def test_emulated_tiers_share_a_meter_and_a_real_one_has_its_own(subject, agent_url):
    topology = Topology(
        (Tier("mobile", cpus=0.5), Tier("edge", cpus=1.0), Tier("cloud", url=agent_url))
    )
    with tier_meters(topology, subject.calibration) as meters:
        assert set(meters) == {"mobile, edge", "cloud"}
        assert isinstance(meters["mobile, edge"], LocalMeter)
    with tier_meters(Topology(topology.tiers[:2]), subject.calibration) as meters:
        assert set(meters) == {""}


def test_a_tier_that_does_not_answer_is_told(subject):
    with (
        pytest.raises(TierFault, match="not ready"),
        agent_meter(Tier("cloud", url="http://127.0.0.1:9"), [{}], ready_s=0.1),
    ):
        pass


def test_threads_and_providers_of_the_study_file_reach_the_agents_session(
    tmp_path, agent_url, models
):
    study = parse_study(
        "model: m\ntiers: {near: {threads: 2}, "
        f"far: {{url: '{agent_url}', providers: [NoSuchExecutionProvider]}}}}\n"
    )
    near, far = study.topology({}).tiers
    assert (near.threads, near.providers) == (2, ("CPUExecutionProvider",))
    assert far.providers == ("NoSuchExecutionProvider",)
    digest = hashlib.sha256(models[0]).hexdigest()
    path = tmp_path / "model.onnx"
    path.write_bytes(models[0])
    with AgentClient(agent_url) as client:
        client.put_artifact(path, digest)
        stage = StageSpec(name="m", artifact=digest, providers=far.providers)
        with pytest.raises(TierFault, match=r"no NoSuchExecutionProvider.*Available: .*CPUExec"):
            client.load(stage)
