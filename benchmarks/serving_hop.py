"""What one hop adds to a request: `python benchmarks/serving_hop.py [--stacks]`.

A client, an agent in another process, loopback, and a model that takes next to no time (its own
time, as the agent reports it, is subtracted). Beside it, request by request in turn, a bare TCP
echo of the same bytes through the same Python: blocking sockets, one buffer of the right size.
Everything is started anew several times, since p50s differ by a factor of two from start to start.
Printed: p50 of each start, and the median of the ratios.
`--stacks` adds the HTTP servers that were not chosen. Exit code 1 where a ratio is over its aim.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tierwise.serving.client import AgentClient
from tierwise.serving.connection_pool import ConnectionPool
from tierwise.serving.encoding import encode_request
from tierwise.serving.messages import WireTensor

# Bytes in, and the most that a hop may take in units of the bare exchange.
SIZES = {"0.6 MB": (600_000, 2.0), "20 MB": (20_000_000, 3.0)}
BARE, OURS = "bare TCP echo", "tierwise hop"
WARM_UP = 20
ANSWER_BYTES = 4096


def save_model(path: Path) -> None:
    """A slice of the input: 4 KB out, whatever comes in, at next to no cost."""
    graph = helper.make_graph(
        [helper.make_node("Slice", ["x", "start", "end"], ["y"])],
        "slice",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["m"])],
        [
            onnx.numpy_helper.from_array(np.array([0], np.int64), "start"),
            onnx.numpy_helper.from_array(np.array([ANSWER_BYTES], np.int64), "end"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def echo_server(size: int, ready: multiprocessing.Queue) -> None:
    """Receive `size` bytes into one buffer, answer 4 KB, again."""
    listener = socket.create_server(("127.0.0.1", 0))
    ready.put(listener.getsockname()[1])
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = bytes(ANSWER_BYTES)
    with connection:
        while True:
            buffer = memoryview(np.empty(size, np.uint8).data)
            have = 0
            while have < size:
                count = connection.recv_into(buffer[have:])
                if count == 0:
                    return
                have += count
            connection.sendall(answer)


class Echo:
    """The bare TCP exchange."""

    def __init__(self, size: int) -> None:
        ready: multiprocessing.Queue = multiprocessing.Queue()
        self.process = multiprocessing.Process(target=echo_server, args=(size, ready), daemon=True)
        self.process.start()
        self.sock = socket.create_connection(("127.0.0.1", ready.get(timeout=20)))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.payload = np.ones(size, np.uint8).data

    def __call__(self) -> float:
        begun = time.perf_counter()
        self.sock.sendall(self.payload)
        have, answer = 0, bytearray(ANSWER_BYTES)
        while have < ANSWER_BYTES:
            have += self.sock.recv_into(memoryview(answer)[have:])
        return time.perf_counter() - begun

    def close(self) -> None:
        self.sock.close()
        self.process.join(5)


class Agent:
    """`tierwise serve` in a process, and a client."""

    def __init__(self, folder: Path, size: int) -> None:
        model = folder / "slice.onnx"
        save_model(model)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tierwise", "serve", "--listen", "127.0.0.1:0",
             "--model", f"slice={model}", "--cache", str(folder / "cache")],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.client = AgentClient(json.loads(self.process.stdout.readline())["listening"])
        self.feeds = {"x": np.ones(size, np.uint8)}
        self.hops: list = []

    def __call__(self) -> float:
        reply = self.client.infer("slice", self.feeds)
        self.hops.append(reply.hops[0])
        return reply.total_s - reply.hops[0].compute_s

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()


def aiohttp_server(ready: multiprocessing.Queue) -> None:
    from aiohttp import web  # noqa: PLC0415 - only for the comparison

    async def infer(request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(body=body[:ANSWER_BYTES])

    async def main() -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_post("/v2/models/slice/infer", infer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ready.put(site._server.sockets[0].getsockname()[1])  # noqa: SLF001
        await asyncio.Event().wait()

    asyncio.run(main())


def uvicorn_server(ready: multiprocessing.Queue) -> None:
    import uvicorn  # noqa: PLC0415 - only for the comparison

    async def app(_scope, receive, send) -> None:
        body, more = [], True
        while more:
            message = await receive()
            body.append(message.get("body", b""))
            more = message.get("more_body", False)
        data = b"".join(body)
        headers = [(b"content-length", b"%d" % ANSWER_BYTES)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data[:ANSWER_BYTES]})

    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http="httptools", log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    ready.put(sock.getsockname()[1])
    asyncio.run(server.serve(sockets=[sock]))


class Stack:
    """Another HTTP server that reads the body and answers 4 KB: no codec, no threads, no model."""

    def __init__(self, target, size: int) -> None:
        ready: multiprocessing.Queue = multiprocessing.Queue()
        self.process = multiprocessing.Process(target=target, args=(ready,), daemon=True)
        self.process.start()
        self.pool = ConnectionPool(f"http://127.0.0.1:{ready.get(timeout=20)}")
        self.tensors = [WireTensor("x", np.ones(size, np.uint8))]
        deadline = time.perf_counter() + 10
        while True:
            with contextlib.suppress(OSError):
                self()
                break
            if time.perf_counter() > deadline:
                raise TimeoutError(target.__name__)

    def __call__(self) -> float:
        begun = time.perf_counter()
        body, headers = encode_request(self.tensors)
        self.pool.request("POST", "/v2/models/slice/infer", body, headers)
        return time.perf_counter() - begun

    def close(self) -> None:
        self.pool.close()
        self.process.terminate()
        self.process.join()


def compare(size: int, rounds: int, *, stacks: bool) -> tuple[dict[str, float], list]:
    """p50 in seconds of each, started anew; and the agent's accounts."""
    with tempfile.TemporaryDirectory() as folder:
        subjects = {BARE: Echo(size), OURS: Agent(Path(folder), size)}
        if stacks:
            subjects["aiohttp, body only"] = Stack(aiohttp_server, size)
            subjects["uvicorn, body only"] = Stack(uvicorn_server, size)
        times = {name: [] for name in subjects}
        for round_ in range(rounds + WARM_UP):
            for name, subject in subjects.items():
                took_s = subject()
                if round_ >= WARM_UP:
                    times[name].append(took_s)
        for subject in subjects.values():
            subject.close()
    p50s = {name: float(np.median(values)) for name, values in times.items()}
    return p50s, subjects[OURS].hops[WARM_UP:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stacks", action="store_true", help="also aiohttp and uvicorn")
    parser.add_argument("--rounds", type=int, default=200, help="requests of each, a start")
    parser.add_argument("--starts", type=int, default=7)
    options = parser.parse_args()
    missed = 0
    for label, (size, aim) in SIZES.items():
        rounds = options.rounds if size < 10**6 else max(20, options.rounds // 6)
        found = [compare(size, rounds, stacks=options.stacks) for _ in range(options.starts)]
        print(f"{label} in, 4 KB out, {options.starts} starts of {rounds} rounds; p50s in ms")
        for name in found[0][0]:
            p50s = [p50[name] * 1e3 for p50, _ in found]
            ratio = float(np.median([p50[name] / p50[BARE] for p50, _ in found]))
            if name == OURS:
                missed += ratio > aim
            print(
                f"  {name:20} {' '.join(f'{p50:.3f}' for p50 in p50s)}   {ratio:5.2f} x bare"
                + (f" (aim: {aim} x)" if name == OURS else "")
            )
        hops = [hop for _, accounts in found for hop in accounts]
        inside = {
            part: np.median([getattr(hop, part) for hop in hops]) * 1e6
            for part in ("queue_s", "decode_s", "compute_s", "server_s")
        }
        print(
            "  the agent's own account, p50 us:",
            ", ".join(f"{part[:-2]} {value:.0f}" for part, value in inside.items()),
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
