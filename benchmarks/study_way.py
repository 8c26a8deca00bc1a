"""Side by side with the study's way of serving: `python benchmarks/study_way.py`.

The way of the study (as published: a Flask server a tier, the image as base64 in JSON, a new
inference session in every request, a partition's tensors as base64 float32 in JSON, a connection
a request) against Tierwise's agents, on the demo's model, one thread a session, over loopback,
request by request in turn. Both ways pre-process with the same code; their outputs must agree.
Needs Flask (the extra `dev`).
"""

import argparse
import base64
import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx_ir as ir
import yaml

from tierwise.data.preprocess import Preprocess
from tierwise.graph.cuts import find_cut
from tierwise.operators.partition import partition
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import open_session
from tierwise.serving.client import AgentClient
from tierwise.serving.stage import NextHop, StageSpec
from tierwise.zoo.subjects import materialise

# 74 KB cross, after about 40 % of the work.
CUT = "stage2.stage2.0.Add"
# The aim for a model of about 5 ms, on one tier and over a fast link.
TARGET = 7.0


def to_text(tensors: dict[str, np.ndarray]) -> dict[str, dict]:
    return {
        name: {
            "data": base64.b64encode(np.asarray(array, np.float32).tobytes()).decode(),
            "shape": list(array.shape),
        }
        for name, array in tensors.items()
    }


def from_text(tensors: dict[str, dict]) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(base64.b64decode(each["data"]), np.float32).reshape(each["shape"])
        for name, each in tensors.items()
    }


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def serve_study_way(model: Path, preprocess: str, following: str) -> None:
    """One tier of the study; prints its port when it listens."""
    import flask  # noqa: PLC0415 - only the other way's servers need it
    from werkzeug.serving import make_server  # noqa: PLC0415

    steps = Preprocess.model_validate(json.loads(preprocess)) if preprocess else None
    app = flask.Flask("study")

    @app.post("/predict")
    def predict():
        body = flask.request.get_json()
        session = open_session(model)
        if steps is not None:
            feeds = {session.inputs[0].name: steps.apply(base64.b64decode(body["image"]))}
        else:
            feeds = from_text(body["tensors"])
        outputs = to_text(session.run(feeds))
        answer = post(following, {"tensors": outputs}) if following else {"tensors": outputs}
        return flask.jsonify(answer)

    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextlib.contextmanager
def process(*command: str) -> Iterator[str]:
    """A server; gives the first line that it prints."""
    running = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield running.stdout.readline()
    finally:
        running.terminate()
        running.wait()
        running.stdout.close()


def study_way(
    stack: contextlib.ExitStack, models: list[Path], preprocess: dict
) -> Callable[[bytes], dict[str, np.ndarray]]:
    """Start the study's servers, the tail first; gives the client's call."""
    following = ""
    for position, model in reversed(list(enumerate(models))):
        steps = json.dumps(preprocess) if position == 0 else ""
        port = stack.enter_context(process(__file__, "--serve", str(model), steps, following))
        following = f"http://127.0.0.1:{port.strip()}/predict"

    def call(image: bytes) -> dict[str, np.ndarray]:
        return from_text(post(following, {"image": base64.b64encode(image).decode()})["tensors"])

    return call


def tierwise_way(
    stack: contextlib.ExitStack, models: list[Path], preprocess: dict, cache: Path
) -> Callable[[bytes], dict[str, np.ndarray]]:
    """Start agents and load the same models, the tail first; gives the client's call."""
    following, client = None, None
    for position, model in reversed(list(enumerate(models))):
        arguments = ("serve", "--listen", "127.0.0.1:0", "--cache", str(cache / str(position)))
        line = stack.enter_context(process("-m", "tierwise", *arguments))
        client = stack.enter_context(AgentClient(json.loads(line)["listening"]))
        stage = StageSpec(
            name="stage",
            artifact=client.put_artifact(model),
            preprocess=preprocess if position == 0 else None,
            next=following,
        )
        client.load(stage)
        following = NextHop(url=client.url, model="stage", tier=str(position))
    return lambda image: dict(client.infer("stage", image).outputs)


def compare(models: list[Path], preprocess: dict, image: bytes, rounds: int) -> dict[str, float]:
    """p50 of each way in seconds, request by request in turn."""
    with contextlib.ExitStack() as stack:
        cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways = {
            "study": study_way(stack, models, preprocess),
            "tierwise": tierwise_way(stack, models, preprocess, cache),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        outputs = {}
        for round_ in range(rounds + 3):
            for name, call in ways.items():
                begun = perf_counter()
                outputs[name] = call(image)
                if round_ >= 3:
                    times[name].append(perf_counter() - begun)
        for name, array in outputs["study"].items():
            np.testing.assert_allclose(outputs["tierwise"][name], array, rtol=1e-4, atol=1e-4)
    return {name: float(np.median(values)) for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--serve", nargs=3, metavar=("MODEL", "PREPROCESS", "NEXT"))
    options = parser.parse_args()
    if options.serve:
        serve_study_way(Path(options.serve[0]), *options.serve[1:])
        return 0
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        study = yaml.safe_load(materialise("classification", folder / "subject").read_text())
        steps = study["data"]["preprocess"]
        whole = folder / "subject" / study["model"]
        image = next(iter(sorted((folder / "subject" / "images").iterdir()))).read_bytes()
        graph = prepare(whole)
        cut = find_cut(graph, CUT)
        segments = []
        for position, segment in enumerate(partition(graph, [cut]).segments):
            segments.append(folder / f"segment{position}.onnx")
            ir.save(segment.model, segments[-1])
        feeds = {graph.inputs[0].name: Preprocess.model_validate(steps).apply(image)}
        with open_session(whole) as session:
            alone = []
            for _ in range(30):
                begun = perf_counter()
                session.run(feeds)
                alone.append(perf_counter() - begun)
        print(f"{study['name']}: the model alone {np.median(alone) * 1e3:.1f} ms, 1 thread")
        met = True
        cases = {"single tier": [whole], f"cut at {CUT} ({cut.wire_bytes / 1e3:.0f} KB)": segments}
        for label, models in cases.items():
            p50 = compare(models, steps, image, options.rounds)
            ratio = p50["study"] / p50["tierwise"]
            met &= ratio >= TARGET
            print(
                f"  {label}: study's way {p50['study'] * 1e3:.1f} ms, "
                f"Tierwise {p50['tierwise'] * 1e3:.1f} ms, {ratio:.1f} x (aim: {TARGET:g} x)"
            )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
