"""What a tier says to the next one, and how it takes the answer: against a small real server."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tierwise.serving.encoding import encode_request
from tierwise.serving.faults import BadRequest, DeadlinePassed, NextHopFailed, Overloaded
from tierwise.serving.job import Job
from tierwise.serving.messages import InferRequest, WireTensor
from tierwise.serving.next_hop import NextServer
from tierwise.serving.stage import NextHop
from tierwise.serving.timing import TIMING

MID = WireTensor("mid", np.arange(100_000, dtype=np.float32))
ANSWER = {
    "model_name": "tail",
    "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [1]}],
}


class Tail(ThreadingHTTPServer):
    """Remembers what it was sent, and answers what the test says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.told = 200, ANSWER
        self.requests: list[dict] = []
        self.clients: set[tuple] = set()
        self.answers = threading.Event()
        self.answers.set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        size = int(self.headers.get("Inference-Header-Content-Length", len(body)))
        self.server.clients.add(self.client_address)
        self.server.requests.append(
            {"path": self.path, "headers": dict(self.headers), "raw_bytes": len(body) - size,
             **json.loads(body[:size])}
        )  # fmt: skip
        self.server.answers.wait(30)
        answer = json.dumps(self.server.told).encode()
        with contextlib.suppress(ConnectionError):  # nobody waits any more
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def tail():
    server = Tail()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.answers.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hop(tail):
    made = []

    def make(**options) -> NextServer:
        made.append(NextServer(NextHop(url=f"http://127.0.0.1:{tail.server_port}", model="tail",
                                       tier="cloud", **options)))  # fmt: skip
        return made[-1]

    yield make
    for server in made:
        server.close()


def _job(timeout_s: float | None = None) -> Job:
    job = Job("edge", received_at=time.perf_counter(), received_bytes=10)
    if timeout_s is not None:
        job.set_timeout({"timeout": round(timeout_s * 1e6)})
    return job


def _request(**parameters: object) -> InferRequest:
    return InferRequest((), (), parameters, "id-7", False)


def test_a_tensor_crosses_as_its_bytes_over_one_connection(tail, hop):
    server = hop(token="0123456789abcdef")
    for _ in range(3):
        job = _job()
        response = server.forward(_request(), [MID], job)
        assert response.outputs[0].array.tolist() == [1]
        assert MID.array.nbytes < job.hop.sent_bytes < MID.array.nbytes + 1000
    assert len(tail.clients) == 1
    sent = tail.requests[-1]
    assert sent["path"] == "/v2/models/tail/infer"
    assert sent["raw_bytes"] == MID.array.nbytes
    assert sent["headers"]["Authorization"] == "Bearer 0123456789abcdef"
    assert sent["id"] == "id-7"
    assert "timeout" not in sent.get("parameters", {})
    assert TIMING not in sent.get("parameters", {})


def test_what_is_left_of_the_deadline_goes_along(tail, hop):
    job = _job(5.0)
    before = time.perf_counter()
    hop().forward(_request(), [MID], job)
    left_us = tail.requests[0]["parameters"]["timeout"]
    assert 0 < left_us <= 5e6 - 1e6 * (before - job.received_at)


def test_an_agent_is_asked_for_its_account_where_the_client_asks_and_nobody_else_is(tail, hop):
    hop().forward(_request(**{TIMING: True}), [MID], _job())
    hop(tierwise=False, binary=True).forward(_request(**{TIMING: True}), [MID], _job())
    own, other = tail.requests
    assert own["parameters"][TIMING] is True
    assert TIMING not in other.get("parameters", {})


@pytest.mark.parametrize(
    ("status", "kind"),
    [(503, Overloaded), (504, DeadlinePassed), (400, BadRequest), (500, NextHopFailed),
     (404, NextHopFailed), (401, NextHopFailed)],
)  # fmt: skip
def test_why_the_next_tier_refused_is_passed_on(tail, hop, status, kind):
    tail.status, tail.told = status, {"error": "because"}
    with pytest.raises(kind, match=rf"cloud answered {status}: because") as refused:
        hop().forward(_request(), [MID], _job())
    assert type(refused.value) is kind


def test_a_next_tier_that_does_not_answer_in_time_is_the_deadlines_fault(tail, hop):
    tail.answers.clear()
    with pytest.raises(DeadlinePassed):
        hop().forward(_request(), [MID], _job(0.2))


def test_an_answer_that_is_none_is_the_next_tiers_fault(tail, hop):
    tail.told = {"outputs": [{"name": "y"}]}
    with pytest.raises(NextHopFailed, match="cloud sent no inference response"):
        hop().forward(_request(), [MID], _job())


def test_a_request_encoded_for_it_is_what_the_protocol_says():
    buffers, headers = encode_request([MID], {}, "id-7")
    header = json.loads(bytes(buffers[0]))
    assert ("Inference-Header-Content-Length", str(len(buffers[0]))) in headers
    assert header["inputs"][0]["parameters"]["binary_data_size"] == MID.array.nbytes
