"""Skip parts of a graph: the rewrite behind an early exit."""

from collections.abc import Iterable

import onnx_ir as ir
import onnx_ir.passes.common as passes

from tierwise.errors import ExitError
from tierwise.graph.analysis import Graph, name_of
from tierwise.graph.blocks import ExitCandidate


def skip_blocks(graph: Graph, exits: Iterable[ExitCandidate]) -> ir.Model:
    """A model in which the readers of every exit's ``to`` read its ``from``.

    What nothing needs any more is gone: nodes, weights, functions and opset imports. Inputs and
    outputs keep their names, types and order. ``graph`` is not changed.

    Args:
        graph: What to skip parts of.
        exits: From :func:`~tierwise.graph.blocks.exit_candidates` or ``find_exit`` of this graph;
            consecutive ones may be given one by one. The order doesn't matter.

    Raises:
        ExitError: two exits arrive at the same tensor (``.tensor``).
    """
    instead: dict[str, str] = {}
    for exit_ in exits:
        if exit_.to_tensor in instead:
            raise ExitError(
                f"Two exits arrive at '{exit_.to_tensor}'.",
                hint="Give each `to` tensor once.",
                tensor=exit_.to_tensor,
            )
        instead[exit_.to_tensor] = exit_.from_tensor
    model = graph.model.clone()
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    for to_tensor in instead:
        source = to_tensor
        while source in instead:
            source = instead[source]
        _rewire(model, values[to_tensor], values[source])
    ir.passes.Sequential(
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]  # untyped there
        passes.RemoveUnusedOpsetsPass(),
    )(model)
    return model


def _rewire(model: ir.Model, old: ir.Value, new: ir.Value) -> None:
    """Let everything that uses ``old`` use ``new``, graph outputs under the name they have."""
    for user, index in tuple(old.uses()):
        user.replace_input_with(index, new)
    positions = [index for index, value in enumerate(model.graph.outputs) if value is old]
    if not positions:
        return
    name = name_of(old)
    old.name = f"{name}_skipped"
    alias = ir.node("Identity", [new], name=f"{name}_exit")
    alias.outputs[0].name = name
    alias.outputs[0].type = old.type
    alias.outputs[0].shape = old.shape
    model.graph.append(alias)
    for index in positions:
        model.graph.outputs[index] = alias.outputs[0]
