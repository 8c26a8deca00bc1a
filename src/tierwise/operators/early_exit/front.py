"""One exit of a front: the one that saves most within a quality budget."""

from collections.abc import Sequence
from dataclasses import replace

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.data.source import Dataset
from tierwise.graph.analysis import Graph
from tierwise.operators.held_out import check_max_loss
from tierwise.operators.variant import Variant
from tierwise.quality.evaluate import evaluate, refer
from tierwise.quality.task import Task


def deepest_within(
    front: Sequence[Variant], graph: Graph, held_out: Dataset, task: Task, max_loss: float
) -> Variant:
    """The exit that saves most of those that lose at most ``max_loss`` points.

    Its notes say what every exit of the front loses. Where all lose more, it is the one that
    saves least, with a caveat.

    Args:
        front: At least one, from the least saving to the most.
        graph: The original.
        held_out: Inputs that nothing was fitted to; labels are used where there are any.
        task: What the outputs mean.
        max_loss: The budget.

    Raises:
        UserError: no budget that can be met.
        DataError: the outputs or labels do not fit the task.
    """
    check_max_loss(max_loss)
    reference = refer(graph.model, held_out, task)
    metric = reference.figure.metric
    losses = [evaluate(one.graph.model, held_out, task, reference).loss for one in front]
    within = [one for one, loss in zip(front, losses, strict=True) if loss <= max_loss]
    chosen = within[-1] if within else front[0]
    said = ", ".join(f"{one.name} {loss:.2f}" for one, loss in zip(front, losses, strict=True))
    note = (
        f"{chosen.name} of a front; points of {metric} lost on {len(held_out)} held-out "
        f"calibration inputs: {said}"
    )
    caveats = chosen.caveats
    if not within:
        caveats += (
            ResultWarning(
                WarningKind.NO_EXITS,
                "E",
                f"Every exit of the front loses more than {max_loss:g} points of {metric} on "
                f"held-out calibration inputs ({said}); the one that saves least is measured.",
                "Ask for less with `early_exit: {save: ...}`, or allow more with `max_loss`.",
            ),
        )
    return replace(chosen, notes=(note, *chosen.notes), caveats=caveats)
