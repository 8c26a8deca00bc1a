"""The quality guard: which few nodes to leave in float where a recipe loses too much."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tierwise.operators.quantize.build import Builder, CannotQuantize
from tierwise.operators.quantize.calibrate import Feeds
from tierwise.operators.quantize.recipe import Recipe
from tierwise.quality.metrics import relative_error
from tierwise.runtime.session import SessionOptions, open_session

# heuristic: errors of single nodes differ by orders of magnitude, so a few inputs rank them.
_RANKING_INPUTS = 4
# heuristic: a model of more nodes is ranked in runs of neighbours, so that ranking stays within
# some seconds. Neighbours in float also save the conversions between them.
_MOST_GROUPS = 40


@dataclass(frozen=True)
class Guarded:
    """What the guard found.

    Attributes:
        recipe: With the sensitive nodes excluded.
        model: Built by it.
        loss: Points lost on held-out data, within the budget.
        evaluations: How many models were evaluated to find it.
    """

    recipe: Recipe
    model: bytes
    loss: float
    evaluations: int


def rank_nodes(
    builder: Builder,
    recipe: Recipe,
    nodes: Sequence[str],
    feeds: Sequence[Feeds],
    deadline_s: float,
) -> list[tuple[str, ...]]:
    """Nodes by the output error that quantizing them alone causes, worst first.

    Args:
        builder: Of the model.
        recipe: What they are quantized with.
        nodes: The nodes that it quantizes, in canonical order.
        feeds: Calibration inputs; the first few are used.
        deadline_s: Of ``time.monotonic()``; groups not ranked by then come last.

    Returns:
        Groups of neighbouring nodes; of one node each, unless there are many.
    """
    some = feeds[:_RANKING_INPUTS]
    options = SessionOptions()
    with open_session(builder.model, options) as original:
        expected = [original.run(one) for one in some]
    errors: list[tuple[float, int, tuple[str, ...]]] = []
    size = -(-len(nodes) // _MOST_GROUPS)
    for start in range(0, len(nodes), size):
        group = tuple(nodes[start : start + size])
        error = 0.0
        if time.monotonic() < deadline_s:
            try:
                content = builder.build(recipe, only=group)
            except CannotQuantize:
                # Not buildable alone says nothing about its error; its neighbours are ranked.
                content = builder.model
            with open_session(content, options) as session:
                error = _output_error(expected, [session.run(one) for one in some])
        errors.append((error, start, group))
    errors.sort(key=lambda one: (-one[0], one[1]))
    return [group for _, _, group in errors]


def _output_error(
    expected: Sequence[dict[str, np.ndarray]], got: Sequence[dict[str, np.ndarray]]
) -> float:
    found = []
    for before, after in zip(expected, got, strict=True):
        for name, value in before.items():
            if np.issubdtype(value.dtype, np.floating) and value.shape == after[name].shape:
                found.append(relative_error(after[name], value))
    return float(np.nan_to_num(np.mean(found), nan=np.inf)) if found else 0.0


def leave_in_float(
    builder: Builder,
    recipe: Recipe,
    ranking: Sequence[tuple[str, ...]],
    *,
    most: int,
    loss_of: Callable[[bytes], float],
    max_loss: float,
    deadline_s: float,
) -> Guarded | None:
    """The fewest of the worst-ranked nodes in float with which the loss is within the budget.

    Doubles the number of groups until the budget is met, then bisects: about 2 log2(n)
    evaluations for the n-th. Takes the loss to fall as more nodes are left in float; where it
    does not, the answer still meets the budget but may leave more nodes than needed.

    Args:
        builder: Of the model.
        recipe: The recipe that loses too much.
        ranking: From :func:`rank_nodes`.
        most: The most groups that may be left in float.
        loss_of: Points lost by a model on held-out data.
        max_loss: The budget.
        deadline_s: Of ``time.monotonic()``.

    Returns:
        ``None`` where only fp32 would meet the budget, or the deadline came first.
    """
    evaluations = 0
    best: Guarded | None = None

    def attempt(count: int) -> Guarded | None:
        nonlocal evaluations
        nodes = tuple(node for group in ranking[:count] for node in group)
        candidate = recipe.without(nodes)
        try:
            model = builder.build(candidate)
        except CannotQuantize:
            return None
        evaluations += 1
        loss = loss_of(model)
        return Guarded(candidate, model, loss, evaluations) if loss <= max_loss else None

    enough, too_few = 1, 0
    while best is None:
        if time.monotonic() > deadline_s or too_few >= most:
            return None
        enough = min(enough, most)
        best = attempt(enough)
        if best is None:
            too_few, enough = enough, enough * 2
    while enough - too_few > 1 and time.monotonic() < deadline_s:
        middle = (enough + too_few) // 2
        found = attempt(middle)
        if found is None:
            too_few = middle
        else:
            best, enough = found, middle
    return Guarded(best.recipe, best.model, best.loss, evaluations)
