"""Closed-form, label-free compensation of skipped blocks, folded into weights that are there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from tierwise.operators.early_exit.anchors import Anchor, find_anchors
from tierwise.operators.early_exit.fidelity import divergence
from tierwise.operators.early_exit.linear import LinearMap, replace_weights, rescale_outputs
from tierwise.operators.early_exit.ridge import RidgePath
from tierwise.operators.early_exit.statistics import rematch
from tierwise.progress import SILENT, Progress
from tierwise.runtime.session import SessionOptions, open_session

Feeds = Mapping[str, np.ndarray]

# From "hardly hold back" to "hardly move", chosen anew for every layer on rows that it wasn't
# fitted on, so the grid only has to cover the range.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# heuristic: this many rows for every feature make the normal equations well determined.
_ROWS_PER_FEATURE = 12
_MOST_FEATURES = 2400
# heuristic: this many rows tell the mean and spread of a channel to some per cent.
_ROWS_FOR_STATISTICS = 2000
# heuristic: bounds on the time that a refit takes.
_FIT_INPUTS = 128
_HELD_OUT_INPUTS = 64


@dataclass(frozen=True)
class Compensation:
    """A shortened model after compensation, and what held-out data say of it.

    Attributes:
        model: The compensated graph.
        plain_divergence: Mean divergence of plain skipping (the control) on held-out inputs.
        divergence: The same of ``model``; never more than the control's.
        refitted: Names of the nodes whose weights were refitted.
        rematched: Names of the nodes whose channel statistics were re-matched.
    """

    model: ir.Model
    plain_divergence: float
    divergence: float
    refitted: tuple[str, ...]
    rematched: tuple[str, ...] = ()


class Means(Enum):
    """Ways of making up for a skipped block."""

    RIDGE = "ridge"  # refit all weights of a layer
    STATISTICS = "statistics"  # re-match the mean and spread of its channels


def outputs_of(model: ir.Model, feeds: Sequence[Feeds], options: SessionOptions) -> list[Feeds]:
    """Outputs of ``model`` for every input."""
    with open_session(model, options) as session:
        return [session.run(feed) for feed in feeds]


def compensate(
    original: ir.Model,
    shortened: ir.Model,
    exits: Sequence[tuple[str, str]],
    fit: Sequence[Feeds],
    held_out: Sequence[Feeds],
    *,
    options: SessionOptions,
    seed: int = 0,
    means: Collection[Means] = tuple(Means),
    progress: Progress = SILENT,
) -> Compensation:
    """Change the linear nodes around the skipped blocks, towards the original's output.

    Of every node, all weights are refitted by ridge regression on ``fit``, towards what the
    original graph had there; or the channels are given the mean and the spread that they had.
    What lowers the whole model's divergence on ``held_out`` most is kept, nothing where nothing
    does. Layers that are too large for a refit, or have groups, are only re-matched. The shape of
    the graph does not change, so the compensation costs nothing at run time.

    Args:
        original: The graph before.
        shortened: The graph without the skipped blocks; it is not changed.
        exits: Pairs of tensors (from, to) in the order of the data.
        fit: Inputs to fit on.
        held_out: Inputs to choose on; none of them is in ``fit``.
        options: Of the sessions that it opens.
        seed: Of the sample of rows.
        means: What may be tried.
        progress: Told of every node.
    """
    fit, held_out = fit[:_FIT_INPUTS], held_out[:_HELD_OUT_INPUTS]
    truth = outputs_of(original, held_out, options)
    plain = float(divergence(truth, outputs_of(shortened, held_out, options)).mean())
    best, current = plain, shortened
    changed: dict[Means, list[str]] = {one: [] for one in Means}
    anchors = find_anchors(original, shortened, exits)
    wanted = _wanted(original, anchors, fit, options, seed)
    with progress.task("Compensate skipped blocks", len(anchors)) as task:
        for anchor, rows in zip(anchors, wanted, strict=True):
            here = _here(current, anchor, rows, fit, options)
            better: tuple[Means, ir.Model] | None = None
            for one, candidate in _candidates(current, anchor.linear, here, means):
                score = float(divergence(truth, outputs_of(candidate, held_out, options)).mean())
                if score < best:
                    best, better = score, (one, candidate)
            if better is not None:
                changed[better[0]].append(anchor.linear.node_name)
                current = better[1]
            task.advance(note=anchor.linear.node_name)
    return Compensation(
        current, plain, best, tuple(changed[Means.RIDGE]), tuple(changed[Means.STATISTICS])
    )


def _candidates(
    current: ir.Model, linear: LinearMap, here: "_Here", means: Collection[Means]
) -> Iterator[tuple[Means, ir.Model]]:
    """``current`` with one layer changed, in every way that is possible."""
    if Means.RIDGE in means and _can_be_refitted(linear):
        step = _best_step(here.inputs, here.wanted - here.present)
        if step is not None:
            candidate = current.clone()
            replace_weights(candidate, linear, *step)
            yield Means.RIDGE, candidate
    if Means.STATISTICS in means:
        candidate = current.clone()
        rescale_outputs(candidate, linear, *rematch(here.present, here.wanted))
        yield Means.STATISTICS, candidate


def _can_be_refitted(linear: LinearMap) -> bool:
    return linear.groups == 1 and linear.features <= _MOST_FEATURES


def _best_step(x: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The change of weights and bias that predicts the rows it wasn't fitted on best.

    ``None`` where no change is better. The rows are in the order of the inputs, so the last part
    comes from other inputs than the first.
    """
    split = len(x) - len(x) // 4
    path = RidgePath.fit(x[:split], residual[:split])
    best, least = None, float(np.sum(residual[split:] ** 2))
    for penalty in PENALTIES:
        weights, bias = path.step(penalty)
        error = float(np.sum((residual[split:] - x[split:] @ weights - bias) ** 2))
        if error < least:
            best, least = (weights, bias), error
    return best


@dataclass(frozen=True)
class _Wanted:
    """What the original gives at an anchor, at a sample of positions of every input."""

    positions: list[np.ndarray]
    rows: list[np.ndarray]


def _wanted(
    original: ir.Model,
    anchors: Sequence[Anchor],
    fit: Sequence[Feeds],
    options: SessionOptions,
    seed: int,
) -> list[_Wanted]:
    """The original's rows for every anchor, in one pass over the inputs."""
    found = [_Wanted([], []) for _ in anchors]
    generator = np.random.default_rng(seed)
    with open_session(_tap(original, [anchor.target for anchor in anchors]), options) as session:
        for feed in fit:
            outputs = session.run(feed)
            for anchor, wanted in zip(anchors, found, strict=True):
                target, linear = outputs[anchor.target], anchor.linear
                total = linear.positions(target.shape)
                features = linear.features if _can_be_refitted(linear) else 1
                needed = max(features * _ROWS_PER_FEATURE, _ROWS_FOR_STATISTICS)
                per_input = max(1, -(-needed // len(fit)))
                at = generator.choice(total, size=min(total, per_input), replace=False)
                wanted.positions.append(at)
                wanted.rows.append(linear.targets(target, at))
    return found


@dataclass(frozen=True)
class _Here:
    """What an anchor's node has at the sampled positions.

    Attributes:
        inputs: Rows of its input; empty where it cannot be refitted.
        present: What it gives.
        wanted: What it should give.
    """

    inputs: np.ndarray
    present: np.ndarray
    wanted: np.ndarray


def _here(
    current: ir.Model,
    anchor: Anchor,
    wanted: _Wanted,
    fit: Sequence[Feeds],
    options: SessionOptions,
) -> _Here:
    linear = anchor.linear
    refits = _can_be_refitted(linear)
    names = [linear.output_name, *([anchor.shortcut] if anchor.shortcut else [])]
    inputs, present, aims = [], [], []
    tapped = _tap(current, [linear.input_name, *names] if refits else names)
    with open_session(tapped, options) as session:
        for feed, at, target in zip(fit, wanted.positions, wanted.rows, strict=True):
            got = session.run(feed)
            present.append(linear.targets(got[linear.output_name], at))
            aims.append(
                target - linear.targets(got[anchor.shortcut], at) if anchor.shortcut else target
            )
            if refits:
                inputs.append(linear.rows(got[linear.input_name], at))
    rows = np.concatenate(inputs) if refits else np.empty((0, 0), np.float32)
    return _Here(rows, np.concatenate(present), np.concatenate(aims))


def _tap(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """``model`` cut down to what gives the tensors ``names``, as its outputs."""
    tapped = model.clone()
    values = {out.name: out for node in tapped.graph for out in node.outputs}
    values |= {value.name: value for value in tapped.graph.inputs}
    tapped.graph.outputs.clear()
    tapped.graph.outputs.extend(values[name] for name in dict.fromkeys(names))
    return RemoveUnusedNodesPass()(tapped).model
