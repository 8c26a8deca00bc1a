"""EfficientNet-Lite as an ONNX graph, from the weights of a published checkpoint.

The graph is written directly, without the network's Python code: the checkpoint's batch norms are
folded into the convolutions, and TensorFlow's asymmetric "same" padding becomes the padding of the
convolutions (a torch export leaves a Pad node before each of them).

Source: TensorFlow's ``efficientnet_lite_builder.py``: EfficientNet (Tan and Le, 2019) without
squeeze-and-excitation, with ReLU6, and with stem and head of fixed width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from tierwise.zoo.builder import GraphBuilder, Pads

_EPSILON = 1e-3
_CLASSES = 1000


@dataclass(frozen=True)
class Scale:
    """What distinguishes the members of the family (the widths are in the checkpoints)."""

    depth: float
    side: int


SCALES = {
    "efficientnet-lite0": Scale(1.0, 224),
    "efficientnet-lite1": Scale(1.1, 240),
    "efficientnet-lite2": Scale(1.2, 260),
}


@dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expansion: int


_STAGES = (
    _Stage(1, 3, 1, 1),
    _Stage(2, 3, 2, 6),
    _Stage(2, 5, 2, 6),
    _Stage(3, 3, 2, 6),
    _Stage(3, 5, 1, 6),
    _Stage(4, 5, 2, 6),
    _Stage(1, 3, 1, 6),
)


def build(scale: Scale, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The model of ``scale`` with ``weights`` by their names in the PyTorch checkpoint.

    Input ``image`` [1, 3, side, side], output ``logits`` [1, 1000].

    Raises:
        KeyError: the checkpoint is not of this member of the family.
    """
    graph = _LiteGraph(weights)
    side = scale.side
    x, side = graph.conv("image", "_conv_stem", "_bn0", side, stride=2)
    x, number = graph.relu6(x), 0
    for position, stage in enumerate(_STAGES):
        fixed = position in (0, len(_STAGES) - 1)
        repeats = stage.repeats if fixed else int(np.ceil(scale.depth * stage.repeats))
        for repeat in range(repeats):
            stride = stage.stride if repeat == 0 else 1
            x, side = graph.block(x, f"_blocks.{number}", stage, side, stride, repeated=repeat > 0)
            number += 1
    x, _ = graph.conv(x, "_conv_head", "_bn1", side)
    features = graph.builder.pooled(graph.relu6(x))
    weight, bias = weights["_fc.weight"], weights["_fc.bias"]
    logits = graph.builder.linear(features, "logits", weight, bias)
    return graph.builder.model((1, 3, scale.side, scale.side), (1, _CLASSES), logits)


class _LiteGraph:
    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.builder = GraphBuilder("efficientnet-lite")
        self.weights = weights
        self._zero = self.builder.constant("zero", np.array(0, dtype=np.float32))
        self._six = self.builder.constant("six", np.array(6, dtype=np.float32))

    def relu6(self, x: str) -> str:
        return self.builder.node("Clip", [x, self._zero, self._six], f"{x}.relu6")

    def block(
        self, x: str, name: str, stage: _Stage, side: int, stride: int, *, repeated: bool
    ) -> tuple[str, int]:
        """One inverted bottleneck; a repeated one has a shortcut around it."""
        y = x
        if stage.expansion != 1:
            y, side = self.conv(y, f"{name}._expand_conv", f"{name}._bn0", side)
            y = self.relu6(y)
        depthwise = (f"{name}._depthwise_conv", f"{name}._bn1")
        y, side = self.conv(y, *depthwise, side, stride=stride, depthwise=True)
        y, side = self.conv(self.relu6(y), f"{name}._project_conv", f"{name}._bn2", side)
        return (self.builder.node("Add", [y, x], f"{name}.sum") if repeated else y), side

    def conv(
        self, x: str, name: str, norm: str, side: int, *, stride: int = 1, depthwise: bool = False
    ) -> tuple[str, int]:
        """The convolution ``name`` with the batch norm ``norm`` in it, and its output's side."""
        factor = self.weights[f"{norm}.weight"] / np.sqrt(
            self.weights[f"{norm}.running_var"] + _EPSILON
        )
        weight = self.weights[f"{name}.weight"] * factor[:, None, None, None]
        bias = self.weights[f"{norm}.bias"] - self.weights[f"{norm}.running_mean"] * factor
        pads, new_side = _same(side, weight.shape[-1], stride)
        groups = weight.shape[0] if depthwise else 1
        output = self.builder.conv(x, name, weight, bias, stride=stride, pads=pads, groups=groups)
        return output, new_side


def _same(side: int, kernel: int, stride: int) -> tuple[Pads, int]:
    """TensorFlow's "same" padding, the odd pixel at bottom and right, and the output's side."""
    new_side = -(-side // stride)
    total = max((new_side - 1) * stride + kernel - side, 0)
    before, after = total // 2, total - total // 2
    return (before, before, after, after), new_side
