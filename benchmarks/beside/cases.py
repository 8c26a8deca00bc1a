"""The models that both ways serve, whole and cut.

The demo's; EfficientNet-Lite0's architecture with random weights, whole and quantized; the study's
wide-ResNet-101-2 with random weights. In the study's way a quantized partition's tensors cross as
float32, so it is cut behind DequantizeLinear there, and before it here.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import yaml
from onnxruntime import quantization
from PIL import Image

from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut, find_cut, list_cuts
from tierwise.operators.partition import partition
from tierwise.runtime.prepare import prepare
from tierwise.zoo.efficientnet_lite import SCALES, build
from tierwise.zoo.random_networks import ARCHITECTURES
from tierwise.zoo.subjects import materialise

IMAGENET = {
    "resize": 256, "crop": [224, 224], "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}  # fmt: skip
# EfficientNet-Lite0's channels: what each of its 16 blocks puts out, from the checkpoint's shapes.
LITE0_CHANNELS = (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)
LITE0_KERNELS = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)
SEED = 0


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
