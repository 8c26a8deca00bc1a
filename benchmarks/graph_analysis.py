"""How long the analysis of a graph takes, and how it grows.

Run: python benchmarks/graph_analysis.py

Analysed is what every command does with a prepared model: canonical order, weights-only tensors,
MACs, the whole list of cuts, early-exit candidates. Targets: 300 nodes under 0.3 s, 10,000 nodes
under 10 s, and growth from 1,000 to 10,000 nodes that stays near linear.
"""

import sys
import time
from statistics import median

import numpy as np
import onnx_ir as ir

from tierwise.graph.analysis import Graph
from tierwise.graph.blocks import exit_candidates
from tierwise.graph.cuts import list_cuts
from tierwise.graph.tensors import TensorInfo

REPEATS = 5
SHAPE = (1, 64, 14, 14)


class Network:
    """A residual network of bottleneck blocks, nine nodes each, like a ResNet-101."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []
        self.weights: list[ir.Value] = []
        self.tensors: dict[str, TensorInfo] = {}

    def conv(self, x: ir.Value, kernel: int) -> ir.Value:
        """A convolution with a weight of its own."""
        name = f"w{len(self.weights)}"
        array = np.zeros((64, 64, kernel, kernel), np.float32)
        weight = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        self.weights.append(weight)
        return self.node("Conv", [x, weight])

    def node(self, op: str, inputs: list[ir.Value]) -> ir.Value:
        """A node whose result has the one shape of this network."""
        node = ir.node(op, inputs, name=f"{op}_{len(self.nodes)}")
        value = node.outputs[0]
        value.name = f"{op}_{len(self.nodes)}:0"
        value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape(SHAPE)
        self.nodes.append(node)
        return value

    def block(self, x: ir.Value) -> ir.Value:
        """Three convolutions and the sum with what they started from."""
        y = self.node("Relu", [self.conv(x, 1)])
        y = self.node("Relu", [self.conv(y, 3)])
        y = self.conv(y, 1)
        return self.node("Relu", [self.node("Add", [y, x])])


def residual_model(nodes: int) -> ir.Model:
    """A model of at least ``nodes`` nodes, all with concrete shapes."""
    network = Network()
    image = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(SHAPE))
    x = network.node("Relu", [image])
    while len(network.nodes) < nodes:
        x = network.block(x)
    graph = ir.Graph(
        [image], [x], nodes=network.nodes, initializers=network.weights, opset_imports={"": 17}
    )
    return ir.Model(graph, ir_version=8)


def seconds(nodes: int, repeats: int) -> tuple[float, int, int]:
    """Median time of a whole analysis, and how many cuts and exits it found."""
    model = residual_model(nodes)
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        graph = Graph(model)
        cuts, exits = list_cuts(graph), exit_candidates(graph)
        assert graph.macs > 0
        taken.append(time.perf_counter() - start)
    return median(taken), len(cuts), len(exits)


def main() -> int:
    print("Analysis of residual graphs (median of", REPEATS, "runs)")
    print("command: python benchmarks/graph_analysis.py\n")
    print(f"{'nodes':>7}  {'cuts':>6}  {'exits':>6}  {'seconds':>8}  {'target':>8}")
    measured = {}
    for nodes, target in ((300, 0.3), (1_000, None), (3_000, None), (10_000, 10.0)):
        measured[nodes], cuts, exits = seconds(nodes, REPEATS)
        wanted = "" if target is None else f"< {target:g}"
        print(f"{nodes:>7}  {cuts:>6}  {exits:>6}  {measured[nodes]:>8.3f}  {wanted:>8}")
    growth = measured[10_000] / measured[1_000]
    print(f"\n10 times the nodes (1,000 to 10,000) take {growth:.1f} times as long.")
    return 0 if measured[300] < 0.3 and measured[10_000] < 10 else 1


if __name__ == "__main__":
    sys.exit(main())
