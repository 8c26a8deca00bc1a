"""Writes ONNX graphs node by node, as exporters leave them: batch norms already folded."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
# The IR version that came with opset 17; older runtimes refuse newer ones.
IR_VERSION = 8
Pads = tuple[int, int, int, int]  # top, left, bottom, right


class GraphBuilder:
    """Collects nodes and weights; every method adds one node and returns its output's name."""

    def __init__(self, name: str) -> None:
        """Begin an empty graph called ``name``."""
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """One node of ``kind``, named like its only output."""
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """A weight."""
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def conv(
        self,
        x: str,
        name: str,
        weight: np.ndarray,
        bias: np.ndarray,
        *,
        stride: int = 1,
        pads: Pads = (0, 0, 0, 0),
        groups: int = 1,
        dilation: int = 1,
    ) -> str:
        """A convolution with ``weight`` [out, in / groups, k, k] and ``bias`` [out]."""
        parameters = [
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
        ]
        return self.node(
            "Conv", [x, *parameters], name, kernel_shape=list(weight.shape[2:]),
            strides=[stride, stride], pads=list(pads), group=groups,
            dilations=[dilation, dilation],
        )  # fmt: skip

    def linear(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """``x @ weight.T + bias`` with ``weight`` [out, in]."""
        parameters = [
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
        ]
        return self.node("Gemm", [x, *parameters], name, transB=1)

    def pooled(self, x: str) -> str:
        """The mean over height and width, as ``[n, c]``."""
        return self.node("Flatten", [self.node("GlobalAveragePool", [x], "pool")], "features")

    def model(
        self, input_shape: Sequence[int], output_shape: Sequence[int], output: str
    ) -> onnx.ModelProto:
        """The finished model, checked: input ``image``, one float output."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(input_shape))],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(output_shape))],
            self._weights,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="tierwise",
        )
        onnx.checker.check_model(model)
        return model
