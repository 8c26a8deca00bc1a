"""The study's way of serving: ``flask_server.py MODEL STEPS THREADS LISTEN`` is a tier.

As published: a Flask server a tier, the image as base64 in JSON, a new inference session in every
request, a partition's tensors as base64 float32 in JSON, a connection a request. Needs Flask (the
extra ``dev``).
"""

import base64
import http.client
import json
import sys
import urllib.request
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime as ort

from tierwise.data.preprocess import Preprocess
from tierwise.tiers.running import RunningTopology

# An image to the seconds that its answer took, and the outputs.
Infer = Callable[[bytes], tuple[float, dict[str, np.ndarray]]]


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


def serve(model: Path, preprocess: str, threads: int, listen: str) -> None:
    """One tier of the study; says where it listens as an agent does."""
    import flask  # noqa: PLC0415 - only the other way's servers need it
    from werkzeug.serving import make_server  # noqa: PLC0415

    steps = Preprocess.model_validate(json.loads(preprocess)) if preprocess else None
    app = flask.Flask("study")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    following = ""

    @app.post("/next")
    def set_next():
        nonlocal following
        following = flask.request.get_json()
        return ""

    @app.post("/predict")
    def predict():
        body = flask.request.get_json()
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        if steps is not None:
            feeds = {session.get_inputs()[0].name: steps.apply(base64.b64decode(body["image"]))}
        else:
            feeds = from_text(body["tensors"])
        names = [output.name for output in session.get_outputs()]
        outputs = to_text(dict(zip(names, session.run(names, feeds), strict=True)))
        if not following:
            return flask.jsonify({"tensors": outputs})
        text = json.dumps({"tensors": outputs}).encode()
        request = urllib.request.Request(following, text, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return flask.jsonify(json.load(answer))

    host, port = listen.rsplit(":", 1)
    server = make_server(host, int(port), app, threaded=True)
    print(json.dumps({"listening": f"http://{host}:{server.server_port}"}), flush=True)
    server.serve_forever()


def client(running: RunningTopology, tiers: Sequence[str]) -> Infer:
    """Tell every server who is next; gives the client's call."""

    def post(tier: str, path: str, make: Callable[[], object]) -> tuple[float, bytes]:
        host, port = running.url(tier, tier).split("//")[1].split(":")
        connection = http.client.HTTPConnection(host, int(port))
        # Connected before the clock starts: making a socket in a tier's namespace is emulation.
        connection.sock = running.dial(tier, host, int(port))
        begun = perf_counter()
        body = json.dumps(make())
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse().read()
        connection.close()
        return begun, answer

    for near, far in pairwise(tiers):
        post(near, "/next", lambda near=near, far=far: f"{running.url(near, far)}/predict")

    def call(image: bytes) -> tuple[float, dict[str, np.ndarray]]:
        begun, answer = post(
            tiers[0], "/predict", lambda: {"image": base64.b64encode(image).decode()}
        )
        outputs = from_text(json.loads(answer)["tensors"])
        return perf_counter() - begun, outputs

    return call


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
