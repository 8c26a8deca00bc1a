"""What strangers may not do, against real agents."""

import gzip
import json
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.certificates import certificate

from tierwise.errors import TierFault
from tierwise.serving.client import AgentClient
from tierwise.serving.stage import HopTls, NextHop, StageSpec
from tierwise.serving.tls import client_tls, server_tls

pytestmark = pytest.mark.xdist_group("serving")
X = {"x": np.zeros((1, 3, 2, 2), np.float32)}


def _ask(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(text)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        return answer


def _serve_fails(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tierwise", "serve", *arguments]
    with tempfile.TemporaryDirectory() as cache:
        command += ["--cache", cache]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    return done.returncode, " ".join(done.stderr.split())


def test_other_than_loopback_needs_a_token():
    code, message = _serve_fails("--listen", "0.0.0.0:0")
    assert code == 2
    assert "lets everyone who reaches it run models here" in message
    assert "--token-file" in message


def test_the_token_is_asked_for_everywhere_but_for_health(start_agent, tmp_path, head_model):
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123\n")
    agent = start_agent("--token-file", str(file), "--model", f"m={head_model}")
    for token in (None, "wrong", "0123456789abcdef012\xe9"):
        with agent.client(token=token) as client:
            client.wait_ready(10)
            with pytest.raises(TierFault, match="401"):
                client.index()
            with pytest.raises(TierFault, match="401"):
                client.infer("m", X)
    with agent.client(token=file.read_text().strip()) as client:
        for _ in range(3):  # the first in the event loop, the others in a lane
            client.infer("m", X)
    # A lane asks for the token in every request, too.
    body = b'{"inputs": []}'
    path = "POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\n"
    good = f"{path}Authorization: Bearer 0123456789abcdef0123\r\n"
    length = f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as sock:
        for head, status in ((good, 400), (good, 400), (path, 401)):
            sock.sendall((head + length).encode() + body)
            assert sock.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


def test_who_has_no_token_is_told_which_scheme(start_agent, tmp_path):
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123\n")
    agent = start_agent("--token-file", str(file))
    answer = _ask(agent.port, b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"WWW-Authenticate: Bearer" in answer


def test_a_compressed_body_is_refused_and_not_unpacked(edge):
    body = gzip.compress(b'{"inputs": []}')
    head = "POST /v2/models/affine/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = _ask(edge.port, head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Compressed bodies are not accepted" in answer


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/../../etc/passwd", 404),
        ("/v2/models/..%2f..%2fetc/ready", 404),
        ("/tierwise/v1/artifacts/..%2f..%2fetc%2fpasswd", 404),
        ("/tierwise/v1/artifacts/....", 400),
        ("/v2/repository/models/affine/load", 405),
    ],
)
def test_paths_that_try_to_leave_go_nowhere(edge, path, status):
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = _ask(edge.port, request.encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def _model(node, initializers=()) -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", value[:1], value[1:], list(initializers))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def _external(location: str) -> onnx.ModelProto:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=1)
    for key, value in (("location", location), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return _model(helper.make_node("Add", ["x", "w"], ["y"]), [tensor])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"not onnx at all", "not ONNX|not an ONNX model"),
        (_model(helper.make_node("Foo", ["x"], ["y"], domain="my.ops")), "my.ops::Foo"),
        (_external("../secret.bin"), "must be a file beside the model"),
        (_external("/etc/passwd"), "must be a file beside the model"),
    ],
    ids=["garbage", "custom operator", "external above", "external absolute"],
)
def test_a_model_that_must_not_be_opened_is_refused(edge, tmp_path, model, message):
    file = tmp_path / "model.onnx"
    file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with edge.client() as client:
        sha256 = client.put_artifact(file)
        with pytest.raises(TierFault, match=message):
            client.load(StageSpec(name="bad", artifact=sha256))
        assert "bad" not in {entry["name"] for entry in client.index()}


@pytest.mark.parametrize("name", ["../up", "a..b", ".hidden", "a/b", "", "x" * 300, "a\n"])
def test_names_that_could_be_paths_are_refused(edge, name):
    config = json.dumps({"name": name, "artifact": "0" * 64})
    body = json.dumps({"parameters": {"config": config}}).encode()
    answer = _ask(
        edge.port,
        b"POST /v2/repository/models/x/load HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body,
    )
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_name_that_is_no_path_yet_could_be_one_is_refused(edge, head_model):
    with edge.client() as client:
        spec = StageSpec(name="ab", artifact=client.put_artifact(head_model))
        unchecked = spec.model_copy(update={"name": "a..b"})
        with pytest.raises(TierFault, match=r"400.*'a\.\.b' cannot be a model's name"):
            client.load(unchecked)
    for name in ("a..b", "a\n"):
        code, message = _serve_fails("--listen", "127.0.0.1:0", "--model", f"{name}={head_model}")
        assert code == 2
        assert "cannot be a model's name" in message


def test_a_model_of_unknown_length_is_refused_and_not_kept(edge):
    path = f"/tierwise/v1/artifacts/{'5' * 64}"
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = _ask(edge.port, head.encode() + b"5\r\nhello\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"with Content-Length" in answer
    assert not list(edge.cache.glob(".5*.part"))


def test_a_full_queue_answers_503_and_when_to_come_back(start_agent, head_model):
    agent = start_agent("--model", f"m={head_model}", "--queue", "0", "--workers", "1")
    large = {"x": np.zeros((1, 3, 512, 512), np.float32)}
    answers: list[str] = []

    def ask() -> None:
        # A connection of its own each time, so that no lane takes it.
        for _ in range(5):
            with agent.client() as client:
                try:
                    client.infer("m", large, timing=False)
                    answers.append("200")
                except TierFault as fault:
                    answers.append(str(fault.status))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {"200", "503"}


def test_a_deadline_that_has_passed_is_answered_504(edge):
    with edge.client() as client, pytest.raises(TierFault, match=r"504|did not answer in time"):
        client.infer("affine", X, timeout_s=1e-6)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def _thousand(port: int) -> list[int]:
    """A thousand connections at once, a request on each; the statuses."""
    body = json.dumps(
        {"inputs": [{"name": "x", "shape": [1, 3, 1, 1], "datatype": "FP32", "data": [1, 2, 3]}]}
    ).encode()
    text = (
        b"POST /v2/models/affine/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    socks = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(1000)]

    def finish(sock: socket.socket) -> int:
        with sock:
            sock.sendall(text)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
            return int(answer.split(b" ", 2)[1])

    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(finish, socks))


@pytest.mark.slow
def test_a_thousand_connections_at_once_break_and_leak_nothing(start_agent, head_model):
    agent = start_agent("--model", f"affine={head_model}")
    assert set(_thousand(agent.port)) <= {200, 503}
    before = _resident_bytes(agent.process.pid)
    descriptors = len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir()))
    for _ in range(3):
        assert set(_thousand(agent.port)) <= {200, 503}
    assert _resident_bytes(agent.process.pid) < before * 1.05
    assert len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir())) <= descriptors + 2
    assert agent.process.poll() is None


def test_models_and_bodies_over_the_limit_are_refused_and_not_kept(start_agent, tmp_path):
    agent = start_agent("--max-model", "1KiB", "--max-body", "10KiB", "--allow-custom-operators")
    large, odd = tmp_path / "large.onnx", tmp_path / "odd.onnx"
    onnx.save(_model(helper.make_node("Relu", ["x"], ["y"], doc_string="x" * 2000)), large)
    onnx.save(_model(helper.make_node("Foo", ["x"], ["y"], domain="my.ops")), odd)
    with agent.client() as client:
        with pytest.raises(TierFault, match=r"413.*accepts 1024.*--max-model"):
            client.put_artifact(large)
        assert not {p.suffix for p in agent.cache.iterdir()} & {".onnx", ".part"}
        artifact = client.put_artifact(odd)
        # Not refused before it is opened, as others are; ONNX Runtime does not know it either.
        with pytest.raises(TierFault, match=r"400.*cannot be loaded: ONNX Runtime"):
            client.load(StageSpec(name="odd", artifact=artifact))
        with pytest.raises(TierFault, match=r"413.*at most 10240 are accepted"):
            client.infer("odd", {"x": np.zeros(4000, np.float32)})
    code, message = _serve_fails("--model", f"m={large}", "--max-model", "1KiB")
    assert code == 2
    assert "1024" in message


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux's prlimit")
def test_a_model_that_finds_no_room_on_disk_is_refused_and_leaves_nothing(
    start_agent, tmp_path, head_model
):
    agent = start_agent()
    content = tmp_path / "large.bin"
    content.write_bytes(bytes(1_000_000))
    before = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (65_536, before[1]))
    with agent.client() as client:
        with pytest.raises(TierFault, match=r"503.*cannot take the body"):
            client.put_artifact(content)
        assert not {p.suffix for p in agent.cache.iterdir()} & {".onnx", ".part"}
        resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, before)
        client.put_artifact(content)
        client.load(StageSpec(name="m", artifact=client.put_artifact(head_model)))
        np.testing.assert_array_equal(client.infer("m", X).outputs["mid"], 1)


def test_tls_before_1_2_is_not_spoken(tmp_path):
    pem, key = certificate(tmp_path, "server")
    assert server_tls(pem, key, None).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.slow
def test_tls_and_mutual_tls(start_agent, head_model, tmp_path):
    server, server_key = certificate(tmp_path, "server")
    mine, my_key = certificate(tmp_path, "client")
    agent = start_agent(
        "--model", f"m={head_model}", "--tls-cert", str(server), "--tls-key", str(server_key),
        "--tls-client-ca", str(mine),
    )  # fmt: skip
    assert agent.url.startswith("https://")
    with AgentClient(agent.url, tls=client_tls(server, mine, my_key)) as client:
        large = {"x": np.ones((1, 3, 700, 700), np.float32)}
        for _ in range(3):
            np.testing.assert_array_equal(client.infer("m", large).outputs["mid"], 3)
    stranger = client_tls(server, *certificate(tmp_path, "stranger"))
    for tls in (client_tls(server), stranger):
        with AgentClient(agent.url, tls=tls) as client:
            for ask in (lambda: client.infer("m", X), lambda: client.infer("m", large),
                        client.wait_ready):  # fmt: skip
                with pytest.raises(TierFault, match=r"TLS.*`client_cert` and `client_key`"):
                    ask()
    with AgentClient(agent.url) as client:
        for ask in (lambda: client.infer("m", X), client.wait_ready):  # at once, not in 30 s
            with pytest.raises(TierFault, match=r"TLS.*not trusted.*`ca` of the tier"):
                ask()


@pytest.mark.slow
def test_grpc_has_the_same_tls(start_agent, head_model, tmp_path):
    grpc = pytest.importorskip("tritonclient.grpc", reason="pip install 'tierwise[dev]'")
    server, server_key = certificate(tmp_path, "server")
    mine, my_key = certificate(tmp_path, "client")
    agent = start_agent(
        "--model", f"m={head_model}", "--grpc", "127.0.0.1:0", "--tls-cert", str(server),
        "--tls-key", str(server_key), "--tls-client-ca", str(mine),
    )  # fmt: skip
    address = agent.told["grpc"]
    tls = {"ssl": True, "root_certificates": str(server)}
    pair = {"private_key": str(my_key), "certificate_chain": str(mine)}
    with grpc.InferenceServerClient(address, **tls, **pair) as client:
        tensor = grpc.InferInput("x", [1, 3, 2, 2], "FP32")
        tensor.set_data_from_numpy(X["x"])
        np.testing.assert_array_equal(client.infer("m", [tensor]).as_numpy("mid"), 1)
    for stranger in (tls, {}):  # without a certificate, without TLS
        with (
            grpc.InferenceServerClient(address, **stranger) as client,
            pytest.raises(grpc.InferenceServerException),
        ):
            client.is_server_live(client_timeout=5)


@pytest.mark.slow
def test_tiers_show_each_other_their_certificates(start_agent, head_model, tail_model, tmp_path):
    server, server_key = certificate(tmp_path, "server")
    mine, my_key = certificate(tmp_path, "head")
    tail = start_agent(
        "--model", f"tail={tail_model}", "--tls-cert", str(server), "--tls-key", str(server_key),
        "--tls-client-ca", str(mine),
    )  # fmt: skip
    stage = {"name": "head", "next": NextHop(url=tail.url, model="tail", tier="edge")}
    with start_agent(
        "--next-ca", str(server), "--next-cert", str(mine), "--next-key", str(my_key)
    ).client() as client:
        client.load(StageSpec(artifact=client.put_artifact(head_model), **stage))
        for _ in range(2):
            np.testing.assert_array_equal(
                client.infer("head", X).outputs["y"], 10 * (2 * X["x"] + 1) - 3
            )
    with start_agent("--next-ca", str(server)).client() as client:
        client.load(StageSpec(artifact=client.put_artifact(head_model), **stage))
        with pytest.raises(TierFault, match=r"502.*edge at https:.*--next-cert"):
            client.infer("head", X)
    with start_agent().client() as client:
        client.load(StageSpec(artifact=client.put_artifact(head_model), **stage))
        with pytest.raises(TierFault, match=r"502.*not trusted.*--next-ca"):
            client.infer("head", X)
        # What a stage brings along serves an agent that has nothing of its own.
        pem = {"ca": server, "cert": mine, "key": my_key}
        tls = HopTls(**{name: file.read_text() for name, file in pem.items()})
        stage["next"] = NextHop(url=tail.url, model="tail", tier="edge", tls=tls)
        client.load(StageSpec(artifact=client.put_artifact(head_model), **stage))
        np.testing.assert_array_equal(
            client.infer("head", X).outputs["y"], 10 * (2 * X["x"] + 1) - 3
        )
    with start_agent("--next-cert", str(mine), "--next-key", str(my_key)).client() as client:
        stage["next"] = NextHop(url=tail.url, model="tail", tls=HopTls(ca=pem["ca"].read_text()))
        client.load(StageSpec(artifact=client.put_artifact(head_model), **stage))
        assert client.infer("head", X).outputs["y"].shape == X["x"].shape


def test_a_certificate_without_its_key_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tierwise", "serve", "--listen", "127.0.0.1:0", "--next-cert", "a"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--next-key" in done.stderr
