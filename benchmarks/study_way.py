"""Side by side with the study's way of serving: `python benchmarks/study_way.py [CASE ...]`.

The way of the study (as published: a Flask server a tier, the image as base64 in JSON, a new
inference session in every request, a partition's tensors as base64 float32 in JSON, a connection
a request) against Tierwise's agents, request by request in turn. Both ways pre-process with the
same code and use as many threads as there are cores (ONNX Runtime's default, `--threads`); their
outputs must agree. Each way has its own emulated tiers with as many cores as threads, and where a
partition crosses a link, the same shape of it (`tierwise.tiers.emulated`).

Models: the demo's; EfficientNet-Lite0's architecture with random weights, whole and quantized; the
study's wide-ResNet-101-2 with random weights. In the study's way a quantized partition's tensors
cross as float32, so it is cut behind DequantizeLinear there, and before it here.
Needs Flask (the extra `dev`).
"""

import argparse
import base64
import contextlib
import http.client
import io
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import onnx_ir as ir
import yaml
from onnxruntime import quantization
from PIL import Image

from tierwise.data.preprocess import Preprocess
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut, find_cut, list_cuts
from tierwise.operators.partition import partition
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.serving.client import AgentClient
from tierwise.serving.stage import NextHop, StageSpec
from tierwise.serving.timing import parts
from tierwise.tiers import emulated
from tierwise.tiers.running import RunningTopology
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology
from tierwise.zoo.efficientnet_lite import SCALES, build
from tierwise.zoo.random_networks import ARCHITECTURES
from tierwise.zoo.subjects import materialise

# An image to the seconds that its answer took, and the outputs.
Infer = Callable[[bytes], tuple[float, dict[str, np.ndarray]]]
IMAGENET = {
    "resize": 256, "crop": [224, 224], "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}  # fmt: skip
# EfficientNet-Lite0's channels: what each of its 16 blocks puts out, from the checkpoint's shapes.
LITE0_CHANNELS = (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)
LITE0_KERNELS = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)
SEED = 0
THREADS = os.cpu_count() or 1


# -- the study's way -----------------------------------------------------------------------------


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


def serve_study_way(model: Path, preprocess: str, threads: int, listen: str) -> None:
    """One tier of the study; says where it listens as an agent does."""
    import flask  # noqa: PLC0415 - only the other way's servers need it
    from werkzeug.serving import make_server  # noqa: PLC0415

    steps = Preprocess.model_validate(json.loads(preprocess)) if preprocess else None
    app = flask.Flask("study")
    following = ""

    @app.post("/next")
    def set_next():
        nonlocal following
        following = flask.request.get_json()
        return ""

    @app.post("/predict")
    def predict():
        body = flask.request.get_json()
        session = open_session(model, SessionOptions(threads=threads))
        if steps is not None:
            feeds = {session.inputs[0].name: steps.apply(base64.b64decode(body["image"]))}
        else:
            feeds = from_text(body["tensors"])
        outputs = to_text(session.run(feeds))
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


def study_way(running: RunningTopology, tiers: Sequence[str]) -> Infer:
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


# -- Tierwise's way ------------------------------------------------------------------------------


def tierwise_way(
    running: RunningTopology,
    tiers: Sequence[str],
    case: "Case",
    token: str,
    threads: int,
) -> tuple[Infer, list[dict[str, float]]]:
    """Load the models, the tail first; gives the client's call, and the accounts of its calls."""
    following, client = None, None
    for position, tier in reversed(list(enumerate(tiers))):
        dial = partial(running.dial, tier)
        client = AgentClient(running.url(tier, tier), dial=dial, token=token)
        stage = StageSpec(
            name="stage",
            artifact=client.put_artifact(case.ours[position]),
            preprocess=case.preprocess if position == 0 else None,
            encodings=case.encodings if position + 1 < len(tiers) else {},
            next=following,
            threads=threads,
        )
        client.load(stage)
        if position:
            address = running.url(tiers[position - 1], tier)
            following = NextHop(url=address, model="stage", tier=tier, token=token)
            client.close()

    accounts: list[dict[str, float]] = []

    def call(image: bytes) -> tuple[float, dict[str, np.ndarray]]:
        reply = client.infer("stage", image)
        accounts.append(parts(reply, tiers))
        return reply.total_s, dict(reply.outputs)

    return call, accounts


# -- models --------------------------------------------------------------------------------------


def lite0_weights() -> dict[str, np.ndarray]:
    """Random weights for EfficientNet-Lite0 under its checkpoint's names."""
    rng = np.random.default_rng(SEED)
    weights: dict[str, np.ndarray] = {}

    def conv(name: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        scale = np.sqrt(2 / (inputs * kernel * kernel))
        shape = (outputs, inputs, kernel, kernel)
        weights[f"{name}.weight"] = (rng.standard_normal(shape) * scale).astype(np.float32)
        for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            weights[f"{norm}.{part}"] = np.full(outputs, value, np.float32)

    conv("_conv_stem", "_bn0", 32, 3, 3)
    inputs = 32
    for number, (outputs, kernel) in enumerate(zip(LITE0_CHANNELS, LITE0_KERNELS, strict=True)):
        block, wide = f"_blocks.{number}", inputs * (6 if number else 1)
        if number:
            conv(f"{block}._expand_conv", f"{block}._bn0", wide, inputs, 1)
        conv(f"{block}._depthwise_conv", f"{block}._bn1", wide, 1, kernel)
        conv(f"{block}._project_conv", f"{block}._bn2", outputs, wide, 1)
        inputs = outputs
    conv("_conv_head", "_bn1", 1280, inputs, 1)
    weights["_fc.weight"] = (rng.standard_normal((1000, 1280)) * 0.02).astype(np.float32)
    weights["_fc.bias"] = np.zeros(1000, np.float32)
    return weights


class Noise(quantization.CalibrationDataReader):
    """A few inputs of random pixels: ranges of activations for random weights."""

    def __init__(self, name: str) -> None:
        rng = np.random.default_rng(SEED)
        self.left = [
            {name: rng.standard_normal((1, 3, 224, 224), dtype=np.float32)} for _ in range(4)
        ]

    def get_next(self) -> dict | None:
        return self.left.pop() if self.left else None


def quantized(model: Path, folder: Path) -> Path:
    """QDQ with uint8 activations."""
    out = folder / "quantized.onnx"
    ready = folder / "ready.onnx"
    quantization.shape_inference.quant_pre_process(model, ready, skip_symbolic_shape=True)
    quantization.quantize_static(
        ready, out, Noise("image"), quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )  # fmt: skip
    return out


def halves(graph: Graph, spec: str, folder: Path, name: str) -> tuple[list[Path], int]:
    """The two segments of a cut, as files, and the bytes that cross."""
    cut = find_cut(graph, spec)
    paths = []
    for position, segment in enumerate(partition(graph, [cut]).segments):
        paths.append(folder / f"{name}{position}.onnx")
        ir.save(segment.model, paths[-1])
    return paths, cut.wire_bytes


def smallest_cut(graph: Graph) -> Cut:
    """The fewest bytes of the cuts that leave each tier at least a quarter of the work."""
    middle = [cut for cut in list_cuts(graph) if 0.25 <= cut.head_macs / graph.macs <= 0.75]
    return min(middle, key=lambda cut: cut.wire_bytes)


@dataclass(frozen=True)
class Case:
    """One comparison: each way's models, the tiers' link and the aim."""

    label: str
    ours: list[Path]
    theirs: list[Path]
    preprocess: dict
    image: bytes
    bandwidth_bit_per_s: float | None
    aim: float
    encodings: dict[str, str] = field(default_factory=dict)
    tolerance: float = 0.01


def picture() -> bytes:
    """A JPEG of a photo's size: 320 x 240 smooth random pixels."""
    rng = np.random.default_rng(SEED)
    small = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    out = io.BytesIO()
    small.resize((320, 240)).save(out, "JPEG", quality=90)
    return out.getvalue()


def demo_cases(folder: Path) -> Iterator[Case]:
    study = yaml.safe_load(materialise("classification", folder / "subject").read_text())
    steps = study["data"]["preprocess"]
    whole = folder / "subject" / study["model"]
    image = next(iter(sorted((folder / "subject" / "images").iterdir()))).read_bytes()
    yield Case(f"{study['name']}, single tier", [whole], [whole], steps, image, None, 7)
    both, size = halves(prepare(whole), "stage2.stage2.0.Add", folder, "demo")
    label = f"{study['name']}, {size / 1e3:.0f} KB cross 200 Mbit/s"
    yield Case(label, both, both, steps, image, 200e6, 7)


def lite_cases(folder: Path) -> Iterator[Case]:
    whole = folder / "lite0.onnx"
    onnx.save(build(SCALES["efficientnet-lite0"], lite0_weights()), whole)
    yield Case("lite0, single tier", [whole], [whole], IMAGENET, picture(), None, 7)
    graph = prepare(whole)
    cut = smallest_cut(graph)
    both, size = halves(graph, cut.id, folder, "lite0-")
    for note, encodings in (("", {}), (", ours as fp16", dict.fromkeys(cut.names, "fp16"))):
        label = f"lite0, {size / 1e3:.0f} KB cross 200 Mbit/s{note}"
        yield Case(label, both, both, IMAGENET, picture(), 200e6, 7, encodings)


def quantized_cases(folder: Path) -> Iterator[Case]:
    """The model of about 5 ms: EfficientNet-Lite0 with 8 bits, where the CPU has VNNI."""
    floats32 = folder / "lite0.onnx"
    onnx.save(build(SCALES["efficientnet-lite0"], lite0_weights()), floats32)
    whole = quantized(floats32, folder)
    label = "lite0 quantized, single tier"
    yield Case(label, [whole], [whole], IMAGENET, picture(), None, 7)
    graph = prepare(whole, simplify=False)
    bytes_cross = [cut for cut in list_cuts(graph) if all("QuantizeLinear" in n for n in cut.names)]
    cut = min(bytes_cross, key=lambda cut: abs(cut.head_macs / graph.macs - 0.5))
    ours, size = halves(graph, cut.id, folder, "uint8-")
    floats = ",".join(
        node.outputs[0].name
        for node in graph.model.graph
        if node.op_type == "DequantizeLinear" and node.inputs[0].name in cut.names
    )
    theirs, wide = halves(graph, floats, folder, "float-")
    label = f"lite0 quantized, {size / 1e3:.0f} KB (theirs {wide / 1e3:.0f}) cross"
    # Cut on either side of a pair of nodes, ONNX Runtime fuses differently: some steps of rounding.
    for rate, aim in ((200, 7), (1, 4)):
        yield Case(
            f"{label} {rate} Mbit/s", ours, theirs, IMAGENET, picture(), rate * 1e6, aim,
            tolerance=0.2,
        )  # fmt: skip


def wide_cases(folder: Path) -> Iterator[Case]:
    whole = folder / "wide.onnx"
    onnx.save(ARCHITECTURES["wide-resnet101-2"](), whole)
    yield Case("wide-resnet101-2, single tier", [whole], [whole], IMAGENET, picture(), None, 3)
    graph = prepare(whole)
    both, size = halves(graph, smallest_cut(graph).id, folder, "wide")
    label = f"wide-resnet101-2, {size / 1e3:.0f} KB cross 200 Mbit/s"
    yield Case(label, both, both, IMAGENET, picture(), 200e6, 3)


CASES = {"demo": demo_cases, "lite": lite_cases, "quantized": quantized_cases, "wide": wide_cases}


# -- comparison ----------------------------------------------------------------------------------


def alone(case: Case, threads: int) -> float:
    """What the models take by themselves, one after the other: p50 in seconds."""
    feeds = Preprocess.model_validate(case.preprocess).apply(case.image)
    sessions = [open_session(model, SessionOptions(threads=threads)) for model in case.ours]
    times = []
    for _ in range(10):
        begun, tensors = perf_counter(), {sessions[0].inputs[0].name: feeds}
        for session in sessions:
            tensors = session.run(tensors)
        times.append(perf_counter() - begun)
    return float(np.median(times))


def compare(case: Case, rounds: int, threads: int, folder: Path) -> dict[str, float]:
    """p50 of each way in seconds, request by request in turn."""
    tiers = ("mobile", "edge")[: len(case.ours)]
    topology = Topology(tuple(Tier(name, cpus=float(threads)) for name in tiers))

    def flask(tier: Tier, listen: str) -> list[str]:
        position = tiers.index(tier.name)
        steps = json.dumps(case.preprocess) if position == 0 else ""
        model = str(case.theirs[position])
        return [sys.executable, __file__, "--serve", model, steps, str(threads), listen]

    def agent(tier: Tier, listen: str) -> list[str]:
        return [sys.executable, "-m", "tierwise", "serve", "--tier", tier.name, "--listen", listen,
                "--cache", str(folder / tier.name), "--token-file", str(token),
                "--threads", str(threads)]  # fmt: skip

    token = folder / "token"
    token.write_text("0123456789abcdef" * 2)
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(emulated.start(topology, flask))
        mine = stack.enter_context(emulated.start(topology, agent))
        ours, accounts = tierwise_way(mine, tiers, case, token.read_text(), threads)
        ways = {"study": study_way(other, tiers), "tierwise": ours}
        if case.bandwidth_bit_per_s is not None:
            shape = NetworkCondition({"mobile-edge": LinkShape(case.bandwidth_bit_per_s)})
            for running in (other, mine):
                running.shape(shape)
        times: dict[str, list[float]] = {name: [] for name in ways}
        outputs = {}
        for round_ in range(rounds + 2):
            for name, call in ways.items():
                took_s, outputs[name] = call(case.image)
                if round_ >= 2:
                    times[name].append(took_s)
        for (name, array), mirrored in zip(
            outputs["study"].items(), outputs["tierwise"].values(), strict=True
        ):
            np.testing.assert_allclose(
                mirrored, array, rtol=0.01, atol=case.tolerance, err_msg=name
            )
        print(f"  links by {mine.record['links']}", file=sys.stderr)
    print_account(accounts[2:])
    return {name: float(np.median(values)) for name, values in times.items()}


def print_account(accounts: list[dict[str, float]]) -> None:
    """Our own side's parts, p50, those above 0.05 ms."""
    keys = dict.fromkeys(key for account in accounts for key in account)
    medians = {key: float(np.median([each.get(key, 0.0) for each in accounts])) for key in keys}
    said = ", ".join(f"{key} {s * 1e3:.2f}" for key, s in medians.items() if s > 5e-5)
    print(f"  Tierwise's account, p50 ms: {said}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=THREADS, help="and cores, of each tier")
    parser.add_argument("--serve", nargs=4, metavar=("MODEL", "PREPROCESS", "THREADS", "LISTEN"))
    options = parser.parse_args()
    if options.serve:
        model, preprocess, threads, listen = options.serve
        serve_study_way(Path(model), preprocess, int(threads), listen)
        return 0
    missed = 0
    for name in options.cases or CASES:
        with tempfile.TemporaryDirectory() as text:
            for case in CASES[name](Path(text)):
                rounds = options.rounds if name != "wide" else max(5, options.rounds // 3)
                bare_s = alone(case, options.threads)
                p50 = compare(case, rounds, options.threads, Path(text))
                ratio = p50["study"] / p50["tierwise"]
                missed += ratio < case.aim
                print(
                    f"{case.label}: study's way {p50['study'] * 1e3:.1f} ms, Tierwise "
                    f"{p50['tierwise'] * 1e3:.1f} ms (the model alone {bare_s * 1e3:.1f}), "
                    f"{ratio:.1f} x (aim: {case.aim:g} x)",
                    flush=True,
                )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
