"""The study's four architectures with random weights: the right work, no meaningful output.

Latency, memory, cuts and the bytes on the wire depend on the architecture alone, so these serve
benchmarks of big models without a download. Their predictions mean nothing.

Source of the selection: Singh, Fallahzadeh, Adams, Hassan, arXiv 2403.17154 (wide ResNet-101-2,
ResNeXt-101, FCN, DUC). Source of the shapes: He et al., 2015; Zagoruyko and Komodakis, 2016; Xie
et al., 2016; Long et al., 2015; Wang et al., 2017.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from tierwise.zoo.builder import GraphBuilder

_SEED = 101
_DEPTHS = (3, 4, 23, 3)


@dataclass(frozen=True)
class _Backbone:
    """ResNet-101 with the width of its bottlenecks, their groups, and the strides of its stages."""

    base_width: int = 64
    groups: int = 1
    depths: tuple[int, ...] = _DEPTHS
    strides: tuple[int, ...] = (1, 2, 2, 2)


class _RandomGraph:
    def __init__(self, name: str) -> None:
        self.builder = GraphBuilder(name)
        self._generator = np.random.default_rng(_SEED)
        self._channels = {"image": 3}

    def conv(
        self, x: str, name: str, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1,
        dilation: int = 1, gain: float = 2.0,
    ) -> str:  # fmt: skip
        """A padded convolution; ``gain`` 2 keeps the variance through a ReLU (He et al.)."""
        inputs = self._channels[x] // groups
        scale = np.float32(np.sqrt(gain / (inputs * kernel * kernel)))
        shape = (outputs, inputs, kernel, kernel)
        weight = self._generator.standard_normal(shape, dtype=np.float32) * scale
        pad = dilation * (kernel // 2)
        self._channels[name] = outputs
        return self.builder.conv(
            x, name, weight, np.zeros(outputs), stride=stride, pads=(pad, pad, pad, pad),
            groups=groups, dilation=dilation,
        )  # fmt: skip

    def relu(self, x: str) -> str:
        self._channels[f"{x}.relu"] = self._channels[x]
        return self.builder.node("Relu", [x], f"{x}.relu")

    def backbone(self, shape: _Backbone) -> str:
        """Stem and four stages of bottlenecks; a stage of stride 1 dilates instead."""
        stem = self.relu(self.conv("image", "conv1", 64, 7, stride=2))
        x = self.builder.node(
            "MaxPool", [stem], "maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        )
        self._channels[x], dilation = 64, 1
        for stage, (depth, stride) in enumerate(zip(shape.depths, shape.strides, strict=True)):
            if stage and stride == 1:
                dilation *= 2
            for block in range(depth):
                x = self._bottleneck(
                    x, f"layer{stage + 1}.{block}", 64 * 2**stage, shape,
                    stride=stride if block == 0 else 1, dilation=dilation,
                )  # fmt: skip
        return x

    def _bottleneck(
        self, x: str, name: str, planes: int, shape: _Backbone, *, stride: int, dilation: int
    ) -> str:
        width = planes * shape.base_width // 64 * shape.groups
        y = self.relu(self.conv(x, f"{name}.conv1", width, 1))
        y = self.relu(
            self.conv(
                y, f"{name}.conv2", width, 3, stride=stride, groups=shape.groups, dilation=dilation
            )
        )
        # A small last convolution keeps the sum over 33 blocks from growing out of range.
        y = self.conv(y, f"{name}.conv3", planes * 4, 1, gain=0.1)
        if stride != 1 or self._channels[x] != planes * 4:
            x = self.conv(x, f"{name}.downsample", planes * 4, 1, stride=stride, gain=1.0)
        total = self.builder.node("Add", [y, x], f"{name}.sum")
        self._channels[total] = planes * 4
        return self.relu(total)

    def classifier(self, x: str) -> onnx.ModelProto:
        features = self.builder.pooled(x)
        weight = self._generator.standard_normal((1000, self._channels[x])) * 0.02
        logits = self.builder.linear(features, "logits", weight, np.zeros(1000))
        return self.builder.model((1, 3, 224, 224), (1, 1000), logits)


def _fcn() -> onnx.ModelProto:
    """FCN on a dilated ResNet-101: 21 classes, scores enlarged eight times."""
    graph = _RandomGraph("fcn-resnet101")
    x = graph.backbone(_Backbone(strides=(1, 2, 1, 1)))
    x = graph.relu(graph.conv(x, "classifier.0", 512, 3))
    x = graph.conv(x, "classifier.4", 21, 1, gain=1.0)
    scales = graph.builder.constant("scales", np.array([1, 1, 8, 8], dtype=np.float32))
    scores = graph.builder.node(
        "Resize", [x, "", scales], "scores", mode="linear",
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    return graph.builder.model((1, 3, 224, 224), (1, 21, 224, 224), scores)


def _duc() -> onnx.ModelProto:
    """DUC on a dilated ResNet-101: 19 classes, dense upsampling by depth-to-space."""
    graph = _RandomGraph("duc-resnet101")
    x = graph.backbone(_Backbone(strides=(1, 2, 1, 1)))
    x = graph.conv(x, "duc", 19 * 64, 3, gain=1.0)
    scores = graph.builder.node("DepthToSpace", [x], "scores", blocksize=8, mode="CRD")
    return graph.builder.model((1, 3, 224, 224), (1, 19, 224, 224), scores)


def _residual(name: str, shape: _Backbone) -> onnx.ModelProto:
    graph = _RandomGraph(name)
    return graph.classifier(graph.backbone(shape))


ARCHITECTURES: dict[str, Callable[[], onnx.ModelProto]] = {
    "wide-resnet101-2": lambda: _residual("wide-resnet101-2", _Backbone(base_width=128)),
    "resnext101-32x8d": lambda: _residual("resnext101-32x8d", _Backbone(base_width=8, groups=32)),
    "fcn-resnet101": _fcn,
    "duc-resnet101": _duc,
}
