"""A graph as the placement solver sees it: nodes, and the tensors that they hand each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from tierwise.graph.analysis import Graph, name_of
from tierwise.graph.cuts import Cut, cut_at


@dataclass(frozen=True)
class PlacedTensor:
    """A tensor that may cross links.

    Attributes:
        name: Its name.
        producer: The node that makes it; ``None`` for an input, which is at the first tier.
        readers: The nodes that read it.
        output: Whether it is one of the model's results.
    """

    name: str
    producer: str | None
    readers: tuple[str, ...]
    output: bool = False


@dataclass(frozen=True)
class DataFlow:
    """What has to be placed.

    Attributes:
        nodes: Names, every node behind those whose results it reads.
        tensors: Everything that depends on the inputs, inputs included.
        absorbed: Nodes that are computed wherever they are read (``DequantizeLinear`` with
            constant scales, so that integers cross), by the node that reads them first.
    """

    nodes: tuple[str, ...]
    tensors: tuple[PlacedTensor, ...]
    absorbed: Mapping[str, str]


def data_flow(graph: Graph) -> DataFlow:
    """The nodes of ``graph`` that depend on its inputs, and their tensors.

    Tensors that no request can carry keep their producer and readers together only through
    their cost: give them an infinite transfer time.
    """
    outputs = {tensor.name for tensor in graph.outputs}
    source_of: dict[str, str] = {}
    absorbed: dict[str, str] = {}
    for node in graph.data_nodes:
        data, *scales = graph.reads(node) or (None,)
        if (
            node.op_type == "DequantizeLinear"
            and data is not None
            and all(name_of(scale) in graph.from_weights for scale in scales)
            and name_of(node.outputs[0]) not in outputs
        ):
            source = name_of(data)
            source_of[name_of(node.outputs[0])] = source_of.get(source, source)
            absorbed[name_of(node)] = name_of(graph.readers(name_of(node.outputs[0]))[0])
    nodes = [node for node in graph.data_nodes if name_of(node) not in absorbed]
    for name, reader in absorbed.items():
        while reader in absorbed:
            reader = absorbed[reader]  # noqa: PLW2901  # follows a chain to its end
        absorbed[name] = reader
    readers: dict[str, dict[str, None]] = {tensor.name: {} for tensor in graph.inputs}
    producers: dict[str, str | None] = dict.fromkeys(readers)
    for node in nodes:
        for value in graph.reads(node):
            name = source_of.get(name_of(value), name_of(value))
            if name in readers:
                readers[name][name_of(node)] = None
        for value in node.outputs:
            if value.name:
                readers[value.name] = {}
                producers[value.name] = name_of(node)
    return DataFlow(
        nodes=tuple(name_of(node) for node in nodes),
        tensors=tuple(
            PlacedTensor(name, producers[name], tuple(found), name in outputs)
            for name, found in readers.items()
            if found or name in outputs
        ),
        absorbed=absorbed,
    )


def placement_cuts(
    graph: Graph, flow: DataFlow, tier_of: Mapping[str, int]
) -> tuple[tuple[int, ...], tuple[Cut, ...]]:
    """The tiers that compute something, in order, and the cuts between them.

    Tiers that only pass data on are left out; the links to them are crossed all the same.

    Raises:
        CutError: a tensor would cross that no request can carry.
    """
    computing = tuple(sorted(set(tier_of.values())))
    cuts = tuple(cut_at(graph, crossing(flow, tier_of, tier)) for tier in computing[:-1])
    return computing, cuts


def crossing(flow: DataFlow, tier_of: Mapping[str, int], tier: int) -> tuple[str, ...]:
    """Names of the tensors that leave ``tier`` for later ones, results on their way included."""
    return tuple(
        tensor.name
        for tensor in flow.tensors
        if (tensor.producer is None or tier_of[tensor.producer] <= tier)
        and (tensor.output or any(tier_of[reader] > tier for reader in tensor.readers))
    )
