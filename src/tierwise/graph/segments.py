"""Split a model at cuts into models of their own, which, chained, are the whole."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tierwise.errors import CutError
from tierwise.graph.analysis import NONDETERMINISTIC, Graph, name_of
from tierwise.graph.closure import closure
from tierwise.graph.cuts import Cut


def split(graph: Graph, cuts: Sequence[Cut]) -> tuple[ir.Model, ...]:
    """One model for each segment, in the order of the data.

    The first takes the whole model's inputs, each gives exactly the tensors of its cut, which
    the next one takes, and the last gives the whole model's outputs. A tensor that only a later
    segment needs passes through those between (a graph output that is a graph input). Weights
    are shared with ``graph.model``, not copied; each segment holds only those it needs.

    Args:
        graph: The whole. Not changed.
        cuts: From :func:`~tierwise.graph.cuts.list_cuts` or ``find_cut`` of this graph, heads
            growing. Without any, the one segment is the whole.

    Raises:
        CutError: the cuts are not in the order of the data (``.cut``).
    """
    inputs = tuple(tensor.name for tensor in graph.inputs)
    bounds = [inputs, *(cut.names for cut in cuts), tuple(t.name for t in graph.outputs)]
    segments = []
    seen: set[ir.Node] = set()
    for index in range(len(bounds) - 1):
        given, wanted = bounds[index], bounds[index + 1]
        nodes = closure(graph, wanted, frozenset(given))
        reached = {name_of(value) for node in nodes for value in graph.reads(node)} | {*wanted}
        if missing := sorted((reached & set(inputs)) - set(given)):
            raise CutError(
                f"Cut '{cuts[index - 1].id}' does not separate what comes before it from "
                f"{f'cut {cuts[index].id!r}' if index < len(cuts) else 'the outputs'}: "
                f"'{missing[0]}' is still needed behind it.",
                hint="Give the cuts in the order of the data, heads growing.",
                cut=cuts[index - 1].id,
                left_behind=tuple(missing),
            )
        for node in nodes & seen:
            if node.op_type in NONDETERMINISTIC:
                raise CutError(
                    f"Cut '{cuts[index - 1].id}' would run the random node '{node.name}' twice.",
                    hint="Cut behind it.",
                    node=node.name,
                )
        seen |= nodes
        segments.append(_segment(graph, given, wanted, nodes, index))
    return tuple(segments)


def _segment(
    graph: Graph, given: tuple[str, ...], wanted: tuple[str, ...], nodes: set[ir.Node], index: int
) -> ir.Model:
    source = graph.model
    used = {value for node in nodes for value in graph.reads(node)}
    used |= {graph.value(name) for name in wanted}
    weights = [value for value in source.graph.initializers.values() if value in used]
    view = ir.GraphView(
        [graph.value(name) for name in given],
        [graph.value(name) for name in wanted],
        nodes=[node for node in graph.nodes if node in nodes],
        initializers=weights,
        opset_imports=dict(source.graph.opset_imports),
        name=f"{source.graph.name or 'model'}_segment_{index}",
        metadata_props=dict(source.graph.metadata_props),
    )
    segment = view.clone()
    for value in (*segment.inputs, *segment.outputs):
        _state_type(graph, value)
    return ir.Model(
        segment,
        ir_version=source.ir_version,
        producer_name=source.producer_name,
        producer_version=source.producer_version,
        domain=source.domain,
        model_version=source.model_version,
        functions=[function.clone() for function in source.functions.values()],
        metadata_props=dict(source.metadata_props),
    )


def _state_type(graph: Graph, value: ir.Value) -> None:
    """Give an input or output of a segment its type, and at least its rank."""
    info = graph.tensors.get(name_of(value))
    if info is None:
        return  # not reached by cuts, whose tensors all have one
    if value.type is None:
        value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(info.dtype)))
    if value.shape is None:
        # Inference could not tell, so the sizes may follow the input's: only the rank is certain.
        value.shape = ir.Shape([None] * len(info.shape))
