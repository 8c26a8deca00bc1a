"""Hybrids: exit first, then quantize, then partition. The order is part of the operator.

An exit's compensation refits weights in float, so it comes before they are rounded; quantizing
after the exit fits the ranges of what is really computed; cutting last puts 8-bit integers on the
wire.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tierwise.caveats import ResultWarning
from tierwise.errors import UserError
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut
from tierwise.operators.partition import Partition, partition
from tierwise.operators.strategy import Operator
from tierwise.operators.variant import Variant

Transform = Callable[[Graph], Variant]
"""An operator with its data and options bound: ``lambda graph: quantize(graph, data, ...)``."""
ChooseCuts = Callable[[Graph], Sequence[Cut]]
"""Where to cut a variant: ``lambda graph: [find_cut(graph, 0.5)]``."""


@dataclass(frozen=True)
class Built:
    """What an operator made of a subject.

    Attributes:
        variant: With the notes and caveats of every step, in their order.
        partition: Its segments, where the operator partitions.
    """

    variant: Variant
    partition: Partition | None = None


def build(
    operator: Operator,
    graph: Graph,
    *,
    exit_: Transform | None = None,
    quantize: Transform | None = None,
    cuts: ChooseCuts | None = None,
) -> Built:
    """Apply the steps of ``operator`` to ``graph``, each to the result of the one before.

    Args:
        operator: Which steps.
        graph: The subject's. Not changed.
        exit_: For E: with compensation, and one variant chosen from the front.
        quantize: For Q.
        cuts: For P: called with the finished variant's graph, whose tensors differ from the
            subject's.

    Raises:
        UserError: the operator needs a step that isn't given.
        CutError: the cuts do not separate the variant.
    """
    steps: list[Transform] = []
    for needed, step, name in (
        (operator.exits, exit_, "exit_"),
        (operator.quantizes, quantize, "quantize"),
        (operator.partitions, cuts, "cuts"),
    ):
        if needed and step is None:
            raise UserError(
                f"The operator {operator.value} ({operator.title}) needs `{name}`.",
                hint=f"Give build({name}=...).",
                operator=operator.value,
            )
    if operator.exits and exit_ is not None:
        steps.append(exit_)
    if operator.quantizes and quantize is not None:
        steps.append(quantize)
    notes: tuple[str, ...] = ()
    caveats: tuple[ResultWarning, ...] = ()
    for step in steps:
        made = step(graph)
        graph, notes, caveats = made.graph, notes + made.notes, caveats + made.caveats
    variant = Variant(operator.variant.value, graph, notes, caveats)
    parts = partition(graph, cuts(graph)) if operator.partitions and cuts is not None else None
    return Built(variant, parts)
