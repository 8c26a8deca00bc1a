"""What has to run so that some tensors are there."""

from collections.abc import Iterable

import onnx_ir as ir

from tierwise.graph.analysis import Graph


def closure(graph: Graph, targets: Iterable[str], stop: frozenset[str]) -> set[ir.Node]:
    """The nodes that compute ``targets`` when the tensors ``stop`` are given.

    A target that is in ``stop`` needs nothing.
    """
    found: set[ir.Node] = set()
    waiting = [graph.value(name) for name in targets]
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if node is not None and node not in found and value.name not in stop:
            found.add(node)
            waiting.extend(graph.reads(node))
    return found
