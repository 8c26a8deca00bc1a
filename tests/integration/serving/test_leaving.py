"""What happens to a request under way when its client, its deadline or the agent goes."""

import http.client
import json
import signal
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tierwise.serving.encoding import encode_request
from tierwise.serving.messages import WireTensor
from tierwise.serving.stage import NextHop, StageSpec

pytestmark = pytest.mark.xdist_group("serving")
# Rounds of the slow model: some tenths of a second, and more than any test waits for.
SECONDS, FOREVER = 60_000, 1_000_000_000


def _save_loop(path: Path) -> Path:
    """`y = x` after `x` rounds of a loop: as slow as it is asked to be."""
    side = 48
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "weights"], ["next_state"]),
            helper.make_node("Identity", ["go_in"], ["go_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [side, side]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, [side, side]),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["rounds", "scalar"], ["count"]),
            helper.make_node("Loop", ["count", "", "weights"], ["last"], body=body),
            helper.make_node("ReduceMax", ["last"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Mul", ["whole", "zero"], ["nothing"]),
            helper.make_node("Add", ["rounds", "nothing"], ["done"]),
        ],
        "slow",
        [helper.make_tensor_value_info("rounds", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("done", TensorProto.INT64, [1])],
        [
            onnx.numpy_helper.from_array(np.eye(side, dtype=np.float32), "weights"),
            onnx.numpy_helper.from_array(np.array(0, np.int64), "zero"),
            onnx.numpy_helper.from_array(np.array([], np.int64), "scalar"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory) -> Path:
    return _save_loop(tmp_path_factory.mktemp("slow") / "slow.onnx")


def _rounds(count: int) -> dict[str, np.ndarray]:
    return {"rounds": np.array([count], np.int64)}


def _metric(agent, name: str) -> float:
    with urllib.request.urlopen(f"{agent.url}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
    raise AssertionError(name)


def _wait_until(holds, what: str, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"{what}: not after {timeout_s} s"
        time.sleep(0.02)


def _wait_pending(agent, count: int) -> None:
    _wait_until(
        lambda: _metric(agent, "tierwise_pending_requests") == count,
        f"{count} requests under way on {agent.tier}",
    )


def _request(model: str, name: str, rounds: int) -> bytes:
    buffers, headers = encode_request([WireTensor(name, np.array([rounds], np.int64))])
    body = b"".join(bytes(buffer) for buffer in buffers)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\n{lines}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _send(agent, model: str, name: str, rounds: int) -> socket.socket:
    """Send a request and don't wait for its answer."""
    sock = socket.create_connection(("127.0.0.1", agent.port), timeout=30)
    sock.sendall(_request(model, name, rounds))
    return sock


@pytest.mark.slow
def test_an_agent_that_is_told_to_stop_answers_what_is_under_way(start_agent, slow_model):
    agent = start_agent("--model", f"slow={slow_model}")
    with agent.client() as client, ThreadPoolExecutor(1) as pool:
        pending = pool.submit(client.infer, "slow", _rounds(SECONDS))
        _wait_pending(agent, 1)
        agent.process.send_signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", agent.port), timeout=5).close()
            except ConnectionRefusedError:
                return True
            return False

        _wait_until(refused, "no new connections")
        assert pending.result(60).outputs["done"].tolist() == [SECONDS]
    assert agent.process.wait(20) == 0


def _save_copy(path: Path, taken: str, given: str) -> Path:
    """`given = taken`: what comes before the slow model."""
    ports = [helper.make_tensor_value_info(n, TensorProto.INT64, [1]) for n in (taken, given)]
    node = helper.make_node("Identity", [taken], [given])
    graph = helper.make_graph([node], "head", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture
def chain(start_agent, slow_model, tmp_path):
    """Three agents; what the first one is asked for takes as long on the last."""
    agents = [start_agent(tier=tier) for tier in ("mobile", "edge", "cloud")]
    copies = [
        _save_copy(tmp_path / f"{a}.onnx", a, b) for a, b in (("wish", "hope"), ("hope", "rounds"))
    ]
    following = None
    for agent, model, name in reversed(
        list(zip(agents, [*copies, slow_model], ["head", "middle", "tail"], strict=True))
    ):
        with agent.client() as client:
            artifact = client.put_artifact(model)
            client.load(StageSpec(name=name, artifact=artifact, next=following))
        following = NextHop(url=agent.url, model=name, tier=agent.tier)
    return agents


@pytest.mark.slow
def test_a_deadline_goes_along_the_chain(chain):
    head = chain[0]
    tensor = {"name": "wish", "shape": [1], "datatype": "INT64", "data": [FOREVER]}
    body = json.dumps({"parameters": {"timeout": 300_000}, "inputs": [tensor]})
    connection = http.client.HTTPConnection("127.0.0.1", head.port, timeout=30)
    connection.request("POST", "/v2/models/head/infer", body)
    answer = connection.getresponse()
    assert (answer.status, "timeout has passed" in answer.read().decode()) == (504, True)
    connection.close()
    for agent in chain:
        _wait_pending(agent, 0)


def test_a_client_that_leaves_stops_the_whole_chain(chain):
    head = chain[0]
    for _ in range(2):  # the second over a connection that was used before
        with _send(head, "head", "wish", FOREVER):
            for agent in reversed(chain):
                _wait_pending(agent, 1)
        for agent in chain:
            _wait_pending(agent, 0)
    with head.client() as client:
        reply = client.infer("head", {"wish": np.array([3], np.int64)})
    assert reply.outputs["done"].tolist() == [3]


def _ask(connection: http.client.HTTPConnection, rounds: int, timeout_us: int) -> tuple[int, str]:
    tensor = {"name": "rounds", "shape": [1], "datatype": "INT64", "data": [rounds]}
    body = {"parameters": {"timeout": timeout_us}, "inputs": [tensor]}
    connection.request("POST", "/v2/models/slow/infer", json.dumps(body))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_a_full_queue_says_when_to_come_back(start_agent, slow_model):
    agent = start_agent("--model", f"slow={slow_model}", "--queue", "0", "--workers", "1")
    with _send(agent, "slow", "rounds", FOREVER):
        _wait_pending(agent, 1)
        connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=30)
        tensor = {"name": "rounds", "shape": [1], "datatype": "INT64", "data": [5]}
        connection.request("POST", "/v2/models/slow/infer", json.dumps({"inputs": [tensor]}))
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "wait already" in json.load(answer)["error"]
        connection.close()
    _wait_pending(agent, 0)
    with agent.client() as client:
        assert client.infer("slow", _rounds(2)).outputs["done"].tolist() == [2]


@pytest.mark.slow
def test_an_inference_is_stopped_when_its_time_has_passed(start_agent, slow_model):
    agent = start_agent("--model", f"slow={slow_model}")
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=30)
    for _ in range(2):  # the first in a worker, the second in a lane
        status, said = _ask(connection, FOREVER, 200_000)
        assert (status, "timeout has passed" in said) == (504, True)
    assert _ask(connection, 5, 0)[0] == 200
    connection.close()


@pytest.mark.slow
def test_a_client_of_a_lane_that_leaves_stops_its_inference(start_agent, slow_model):
    agent = start_agent("--model", f"slow={slow_model}")
    with _send(agent, "slow", "rounds", 1) as sock:
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(_request("slow", "rounds", FOREVER))
    with agent.client() as client:  # waits for the one slot that there is
        assert client.infer("slow", _rounds(2)).outputs["done"].tolist() == [2]


@pytest.mark.slow
def test_a_grpc_call_whose_deadline_has_passed_frees_its_slot(start_agent, slow_model):
    grpc = pytest.importorskip("tritonclient.grpc", reason="pip install 'tierwise[dev]'")
    agent = start_agent("--model", f"slow={slow_model}", "--grpc", "127.0.0.1:0")
    with grpc.InferenceServerClient(agent.told["grpc"]) as client:

        def ask(rounds: int, timeout_s: float):
            tensor = grpc.InferInput("rounds", [1], "INT64")
            tensor.set_data_from_numpy(np.array([rounds], np.int64))
            return client.infer("slow", [tensor], client_timeout=timeout_s)

        with pytest.raises(grpc.InferenceServerException) as caught:
            ask(FOREVER, 0.3)
        assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        # There is one slot: this would wait for ever if the other still ran.
        assert ask(4, 20.0).as_numpy("done").tolist() == [4]
