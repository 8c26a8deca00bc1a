import io
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tierwise.errors import TierFault
from tierwise.serving.stage import NextHop, StageSpec
from tierwise.serving.timing import parts

pytestmark = pytest.mark.xdist_group("serving")


def test_a_whole_model_is_served(edge):
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    with edge.client() as client:
        reply = client.infer("affine", {"x": x})
    np.testing.assert_allclose(reply.outputs["mid"], 2 * x + 1, rtol=1e-6)
    assert [hop.tier for hop in reply.hops] == ["edge"]
    assert reply.sent_bytes > x.nbytes
    assert reply.received_bytes > x.nbytes


def _png(size: int) -> bytes:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _deploy_chain(head, tail, head_model, tail_model, **options):
    with tail.client() as client:
        sha256 = client.put_artifact(tail_model)
        client.load(StageSpec(name="tail", artifact=sha256))
    with head.client() as client:
        sha256 = client.put_artifact(head_model)
        client.load(
            StageSpec(
                name="head",
                artifact=sha256,
                next=NextHop(url=tail.url, model="tail", tier="edge"),
                **{"preprocess": {"resize": [8, 8]}} | options,
            )
        )


def test_an_image_goes_through_a_chain_and_every_part_is_accounted_for(
    mobile, edge, head_model, tail_model
):
    _deploy_chain(mobile, edge, head_model, tail_model)
    image = _png(8)
    pixels = np.asarray(Image.open(io.BytesIO(image)), dtype=np.float32).transpose(2, 0, 1)[None]
    with mobile.client() as client:
        reply = client.infer("head", image)
    np.testing.assert_allclose(reply.outputs["y"], 10 * (2 * pixels + 1) - 3, rtol=1e-5)
    assert [hop.tier for hop in reply.hops] == ["mobile", "edge"]
    found = parts(reply, ("mobile", "edge"))
    assert sum(found.values()) == pytest.approx(reply.total_s, abs=1e-12)
    assert {
        "client@mobile", "preprocess@mobile", "compute@mobile", "transfer@mobile-edge",
        "compute@edge", "codec@mobile", "codec@edge", "queue@mobile", "queue@edge",
    } <= set(found)  # fmt: skip
    assert all(value > -1e-6 for value in found.values()), found


@pytest.mark.parametrize(
    ("encoding", "smaller", "tolerance"),
    [
        ("none+zstd", 1.0, 0),
        ("fp16", 1.9, 3),
        ("int8(2.003,0)", 3.5, 11),
        ("int8(2.003,0)+zstd", 3.5, 11),
    ],
)
def test_boundary_encodings_make_the_crossing_smaller(
    mobile, edge, head_model, tail_model, *, encoding, smaller, tolerance
):
    image = _png(8)
    _deploy_chain(mobile, edge, head_model, tail_model, preprocess={"resize": [64, 64]})
    with mobile.client() as client:
        plain = client.infer("head", image)
        _deploy_chain(
            mobile, edge, head_model, tail_model,
            preprocess={"resize": [64, 64]}, encodings={"mid": encoding},
        )  # fmt: skip
        encoded = client.infer("head", image)
    np.testing.assert_allclose(encoded.outputs["y"], plain.outputs["y"], atol=tolerance)
    assert plain.hops[0].sent_bytes > smaller * encoded.hops[0].sent_bytes
    assert encoded.hops[0].sent_bytes == encoded.hops[1].received_bytes


def test_a_stage_with_an_unknown_encoding_is_refused(edge, head_model):
    with edge.client() as client:
        sha256 = client.put_artifact(head_model)
        stage = StageSpec(name="odd", artifact=sha256, encodings={"mid": "int4"})
        with pytest.raises(TierFault, match="'int4' is no boundary encoding"):
            client.load(stage)


def test_a_stage_is_listed_until_it_is_unloaded(edge, head_model):
    entry = {"name": "listed", "version": "1", "state": "READY", "reason": ""}
    with edge.client() as client:
        sha256 = client.put_artifact(head_model)
        assert client.put_artifact(head_model) == sha256
        client.load(StageSpec(name="listed", artifact=sha256))
        assert entry in client.index()
        client.unload("listed")
        assert entry not in client.index()
        with pytest.raises(TierFault, match=r"404.*no model 'listed'"):
            client.infer("listed", {"x": np.zeros((1, 3, 1, 1), np.float32)})


def test_an_artefact_with_another_hash_is_refused_and_not_kept(edge, head_model):
    def files() -> set[str]:
        # Its lock stays, once one has been received.
        return {path.name for path in edge.cache.iterdir()} - {".lock"}

    before = files()
    with edge.client() as client, pytest.raises(TierFault, match="SHA-256 is"):
        client.put_artifact(head_model, sha256="0" * 64)
    assert files() == before


def test_a_dead_next_tier_is_named_and_the_request_fails(
    mobile, start_agent, head_model, tail_model
):
    tail = start_agent(tier="edge")
    _deploy_chain(mobile, tail, head_model, tail_model)
    with mobile.client() as client:
        client.infer("head", _png(8))
        tail.process.terminate()
        assert tail.process.wait(10) == 0  # drained: idle connections don't hold it up
        with pytest.raises(TierFault, match=r"502.*edge at http://127.0.0.1:\d+ failed"):
            client.infer("head", _png(8))


def test_json_tensors_both_ways(edge):
    body = {
        "id": "7",
        "inputs": [{"name": "x", "shape": [1, 3, 1, 1], "datatype": "FP32", "data": [1, 2, 3.5]}],
    }
    request = urllib.request.Request(
        f"{edge.url}/v2/models/affine/infer", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request) as response:
        answer = json.load(response)
    assert answer == {
        "model_name": "affine",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "mid", "datatype": "FP32", "shape": [1, 3, 1, 1], "data": [3.0, 5.0, 8.0]}
        ],
    }


@pytest.mark.parametrize("binary", [True, False, None])
def test_a_next_hop_of_plain_protocol_gets_what_it_takes(
    mobile, edge, head_model, tail_model, binary
):
    with edge.client() as client:
        client.load(StageSpec(name="tail", artifact=client.put_artifact(tail_model)))
    hop = NextHop(url=edge.url, model="tail", tier="edge", tierwise=False, binary=binary)
    x = np.full((1, 3, 64, 64), 1 / 3, np.float32)
    with mobile.client() as client:
        artifact = client.put_artifact(head_model)
        client.load(StageSpec(name="plain", artifact=artifact, next=hop))
        reply = client.infer("plain", {"x": x})
    np.testing.assert_allclose(reply.outputs["y"], 10 * (2 * x + 1) - 3, rtol=1e-6)
    # As text every one of these floats takes 18 characters.
    assert (reply.hops[0].sent_bytes < 1.1 * x.nbytes) == (binary is not False)


def test_an_encoding_that_the_next_server_cannot_decode_is_refused(edge, head_model):
    hop = NextHop(url="http://127.0.0.1:9", model="tail", tierwise=False)
    with edge.client() as client:
        stage = StageSpec(
            name="odd", artifact=client.put_artifact(head_model),
            encodings={"mid": "fp16"}, next=hop,
        )  # fmt: skip
        with pytest.raises(TierFault, match="'fp16', but the next hop is no Tierwise agent"):
            client.load(stage)


def test_an_idle_model_is_closed_when_memory_is_short_and_opened_again(start_agent, head_model):
    agent = start_agent(
        "--model", f"first={head_model}", "--model", f"second={head_model}", "--memory", "1MiB"
    )
    x = {"x": np.ones((1, 3, 2, 2), np.float32)}
    with agent.client() as client:
        for name in ("first", "second", "first"):
            reply = client.infer(name, x)
            np.testing.assert_array_equal(reply.outputs["mid"], 3)
            assert 0 < reply.hops[0].session_s <= reply.hops[0].compute_s
        assert client.infer("first", x).hops[0].session_s == 0
    with urllib.request.urlopen(f"{agent.url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'session_changes_total{change="reopened",model="first",tier="edge"} 2.0' in text
    assert 'tierwise_open_sessions{tier="edge"} 1.0' in text


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_a_stage_gets_no_more_threads_than_the_agent_allows(start_agent, multipliers):
    agent = start_agent("--threads", "2")

    def threads() -> int:
        return len(list(Path(f"/proc/{agent.process.pid}/task").iterdir()))

    def more_with(path: Path, wanted: int) -> int:
        sha256 = client.put_artifact(path)
        before = threads()
        client.load(StageSpec(name=f"with-{wanted}", artifact=sha256, threads=wanted))
        return threads() - before

    with agent.client() as client:
        more_with(multipliers[0], 1)  # what is made once, with the first session
        # The thread that asks computes, too.
        assert [more_with(multipliers[1], 1), more_with(multipliers[2], 2)] == [0, 1]
        assert more_with(multipliers[3], 8) == 1


def test_a_provider_that_is_not_there_is_named(head_model, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tierwise", "serve", "--listen", "127.0.0.1:0", "--cache",
         str(tmp_path), "--model", f"m={head_model}", "--provider", "NoSuchExecutionProvider"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = " ".join(done.stderr.split())
    assert done.returncode == 2
    assert "has no NoSuchExecutionProvider" in said
    assert "CPUExecutionProvider" in said


def test_prometheus_is_told_what_became_of_requests(start_agent, head_model):
    agent = start_agent("--model", f"m={head_model}", tier="cloud")
    with agent.client() as client:
        for _ in range(3):
            client.infer("m", {"x": np.ones((1, 3, 8, 8), np.float32)})
        with pytest.raises(TierFault, match="no input"):
            client.infer("m", {"y": np.ones((1, 3, 2, 2), np.float32)})
    with urllib.request.urlopen(f"{agent.url}/metrics", timeout=10) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain; version=")
        lines = [line for line in reply.read().decode().splitlines() if line[0] != "#"]
    told = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    own = 'model="m"'
    assert told[f'tierwise_requests_total{{{own},outcome="success",tier="cloud"}}'] == 3
    assert told[f'tierwise_requests_total{{{own},outcome="failure",tier="cloud"}}'] == 1
    assert told[f'tierwise_received_bytes_total{{{own},tier="cloud"}}'] > 3 * 3 * 8 * 8 * 4
    compute_s = f'tierwise_request_seconds_total{{{own},part="compute_infer",tier="cloud"}}'
    assert 0 < told[compute_s] < 10
    assert told['tierwise_open_sessions{tier="cloud"}'] == 1
    assert told["process_resident_memory_bytes"] > 10_000_000


def test_a_model_has_one_version(edge):
    url = f"{edge.url}/v2/models/affine/versions"
    with urllib.request.urlopen(f"{url}/1", timeout=10) as reply:
        assert json.load(reply)["versions"] == ["1"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/2", timeout=10)
    assert refused.value.code == 404
    assert "has version 1, not '2'" in refused.value.read().decode()
    refused.value.close()


def test_a_stage_that_is_loaded_again_takes_the_place_of_the_old_one(start_agent, multipliers):
    agent = start_agent()
    with agent.client() as client:
        for path, factor in zip(multipliers[:3], (1, 2, 3), strict=True):
            client.load(StageSpec(name="m", artifact=client.put_artifact(path)))
            reply = client.infer("m", {"x": np.ones((1, 3, 2, 2), np.float32)})
            assert reply.outputs["y"].flat[0] == factor
    with urllib.request.urlopen(f"{agent.url}/metrics", timeout=10) as reply:
        assert 'tierwise_open_sessions{tier="edge"} 1.0' in reply.read().decode()


def test_a_request_is_one_log_line_and_so_is_what_happens_to_the_agent(start_agent, head_model):
    tail = start_agent("--log-format", "json", "--model", f"m={head_model}", tier="cloud")
    head = start_agent("--log-format", "json", tier="edge")
    hop = NextHop(url=tail.url, model="m", tier="cloud")
    with head.client() as client:
        artifact = client.put_artifact(head_model)
        # What the head gives is called "mid"; the tail asks for "x".
        client.load(StageSpec(name="broken", artifact=artifact, next=hop))
        with pytest.raises(TierFault, match=r"no input 'mid'"):
            client.infer("broken", {"x": np.ones((1, 3, 2, 2), np.float32)})
    tensor = {"name": "x", "shape": [1, 3, 1, 1], "datatype": "FP32", "data": [1, 2, 3]}
    body = json.dumps({"id": "order-17", "inputs": [tensor]}).encode()
    url = f"{tail.url}/v2/models/m/infer"
    urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=10).close()
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{tail.url}/v2/models/nothing", timeout=10)
    lines = {}
    for agent in (head, tail):
        agent.stop()
        lines[agent.tier] = [json.loads(line) for line in agent.errors]
        for line in lines[agent.tier]:
            assert {"time", "level", "logger", "message"} <= line.keys()
    (answered,) = (line for line in lines["cloud"] if line["logger"] == "tierwise.requests")
    assert answered["request_id"] == "order-17"
    assert (answered["model"], answered["status"], answered["tier"]) == ("m", 200, "cloud")
    assert 0 < answered["compute_s"] < answered["server_s"] < 10
    assert answered["received_bytes"] > len(body)
    assert {400, 404} <= {line.get("status") for line in lines["cloud"]}
    (refused,) = (line for line in lines["edge"] if line.get("model") == "broken")
    assert refused["status"] == 400
    assert "no input 'mid'" in refused["error"]
    said = [line["message"] for line in lines["edge"]]
    assert said[0] == "tier edge is ready"
    assert said[-1].startswith("stopping: 0 requests under way")
