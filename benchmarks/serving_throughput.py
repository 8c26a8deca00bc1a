"""Throughput of one agent beside the bare session: `python benchmarks/serving_throughput.py`.

Saturating clients against one agent with a model of about 1 ms, and the session alone in a loop,
in turn: session, agent, session, agent, ...
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tierwise.runtime.session import open_session
from tierwise.serving.client import AgentClient

SIDE = 56
MODEL_S, MOST_LAYERS = 0.001, 64
SHARE = 0.70  # the aim


def save_model_of_1_ms(path: Path) -> None:
    """As many convolutions as take 1 ms on one core of this machine."""
    for layers in range(2, MOST_LAYERS):
        save_model(path, layers)
        times_s = []
        with open_session(path) as session:
            for _ in range(60):
                begun = time.perf_counter()
                session.run(feeds())
                times_s.append(time.perf_counter() - begun)
        if np.median(times_s) >= MODEL_S:
            return


def save_model(path: Path, layers: int) -> None:
    """Convolutions over a 12 x 56 x 56 tensor (150 KB)."""
    rng = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(
            (rng.normal(size=(12, 12, 3, 3)) / 10).astype(np.float32), f"w{index}"
        )
        for index in range(layers)
    ]
    names = ["x", *(f"t{index}" for index in range(1, layers)), "y"]
    nodes = [
        helper.make_node("Conv", [names[i], f"w{i}"], [names[i + 1]], pads=[1, 1, 1, 1])
        for i in range(layers)
    ]
    shape = [1, 12, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def feeds() -> dict[str, np.ndarray]:
    return {"x": np.ones((1, 12, SIDE, SIDE), np.float32)}


def session_loop(model: Path, seconds: float, out: multiprocessing.Queue) -> None:
    """The bare session in a loop, in a process of its own as the agent is."""
    session, x = open_session(model), feeds()
    for _ in range(20):
        session.run(x)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        session.run(x)
        count += 1
    out.put(count / (time.perf_counter() - begun))


def client_loop(url: str, seconds: float, out: multiprocessing.Queue) -> None:
    with AgentClient(url) as client:
        x = feeds()
        for _ in range(5):
            client.infer("model", x, timing=False)
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            client.infer("model", x, timing=False)
            count += 1
        out.put(count / (time.perf_counter() - begun))


def run(target, copies: int, *arguments) -> float:
    """Requests per second, all copies together."""
    out: multiprocessing.Queue = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=target, args=(*arguments, out)) for _ in range(copies)
    ]
    for process in processes:
        process.start()
    total = sum(out.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        save_model_of_1_ms(model)
        agent = subprocess.Popen(
            [sys.executable, "-m", "tierwise", "serve", "--listen", "127.0.0.1:0",
             "--model", f"model={model}", "--cache", folder],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        url = json.loads(agent.stdout.readline())["listening"]
        bare, served = [], []
        try:
            for _ in range(options.rounds):
                bare.append(run(session_loop, 1, model, options.seconds))
                served.append(run(client_loop, options.clients, url, options.seconds))
        finally:
            agent.terminate()
            agent.wait()
        shares = [s / b for s, b in zip(served, bare, strict=True)]
        print(f"bare session loop: {np.median(bare):.0f} runs/s ({1e3 / np.median(bare):.2f} ms)")
        print(f"agent, {options.clients} saturating clients: {np.median(served):.0f} requests/s")
        print(f"share of the bare loop: median {np.median(shares):.2f} of {np.round(shares, 2)}")
        print(f"aim: {SHARE}")
    return 0 if np.median(shares) >= SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
