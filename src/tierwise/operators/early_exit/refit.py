"""Closed-form, label-free compensation of skipped blocks, folded into weights that are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from tierwise.operators.early_exit.anchors import Anchor, find_anchors
from tierwise.operators.early_exit.fidelity import divergence
from tierwise.operators.early_exit.linear import replace_weights
from tierwise.operators.early_exit.ridge import RidgePath
from tierwise.progress import SILENT, Progress
from tierwise.runtime.session import SessionOptions, open_session

Feeds = Mapping[str, np.ndarray]

# From "hardly hold back" to "hardly move", chosen anew for every layer on rows that it wasn't
# fitted on, so the grid only has to cover the range.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# heuristic: this many rows for every feature make the normal equations well determined.
_ROWS_PER_FEATURE = 12
_MOST_FEATURES = 2400
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
        refitted: Names of the nodes whose weights changed.
    """

    model: ir.Model
    plain_divergence: float
    divergence: float
    refitted: tuple[str, ...]


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
    progress: Progress = SILENT,
) -> Compensation:
    """Refit the linear nodes around the skipped blocks, towards the original's output.

    Every node is refitted by ridge regression on ``fit``, towards what the original graph had
    there; the change is kept only where the whole model's divergence on ``held_out`` falls.
    The shape of the graph does not change, so the compensation costs nothing at run time.

    Args:
        original: The graph before.
        shortened: The graph without the skipped blocks; it is not changed.
        exits: Pairs of tensors (from, to) in the order of the data.
        fit: Inputs to fit on.
        held_out: Inputs to choose on; none of them is in ``fit``.
        options: Of the sessions that it opens.
        seed: Of the sample of rows.
        progress: Told of every node.
    """
    fit, held_out = fit[:_FIT_INPUTS], held_out[:_HELD_OUT_INPUTS]
    truth = outputs_of(original, held_out, options)
    plain = float(divergence(truth, outputs_of(shortened, held_out, options)).mean())
    best, current = plain, shortened
    refitted: list[str] = []
    anchors = [
        a for a in find_anchors(original, shortened, exits) if a.linear.features <= _MOST_FEATURES
    ]
    wanted = _wanted(original, anchors, fit, options, seed)
    with progress.task("Compensate skipped blocks", len(anchors)) as task:
        for anchor, rows in zip(anchors, wanted, strict=True):
            step = _best_step(*_lacking(current, anchor, rows, fit, options))
            if step is not None:
                candidate = current.clone()
                replace_weights(candidate, anchor.linear, *step)
                score = float(divergence(truth, outputs_of(candidate, held_out, options)).mean())
                if score < best:
                    best, current = score, candidate
                    refitted.append(anchor.linear.node_name)
            task.advance(note=anchor.linear.node_name)
    return Compensation(current, plain, best, tuple(refitted))


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
                per_input = max(1, -(-linear.features * _ROWS_PER_FEATURE // len(fit)))
                at = generator.choice(total, size=min(total, per_input), replace=False)
                wanted.positions.append(at)
                wanted.rows.append(linear.targets(target, at))
    return found


def _lacking(
    current: ir.Model,
    anchor: Anchor,
    wanted: _Wanted,
    fit: Sequence[Feeds],
    options: SessionOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of the anchor's node as rows, and what its output lacks there."""
    linear = anchor.linear
    here = [linear.input_name, linear.output_name, *([anchor.shortcut] if anchor.shortcut else [])]
    rows, residuals = [], []
    with open_session(_tap(current, here), options) as session:
        for feed, at, target in zip(fit, wanted.positions, wanted.rows, strict=True):
            got = session.run(feed)
            residual = target - linear.targets(got[linear.output_name], at)
            if anchor.shortcut:
                residual = residual - linear.targets(got[anchor.shortcut], at)
            rows.append(linear.rows(got[linear.input_name], at))
            residuals.append(residual)
    return np.concatenate(rows), np.concatenate(residuals)


def _tap(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """``model`` cut down to what gives the tensors ``names``, as its outputs."""
    tapped = model.clone()
    values = {out.name: out for node in tapped.graph for out in node.outputs}
    values |= {value.name: value for value in tapped.graph.inputs}
    tapped.graph.outputs.clear()
    tapped.graph.outputs.extend(values[name] for name in dict.fromkeys(names))
    return RemoveUnusedNodesPass()(tapped).model
