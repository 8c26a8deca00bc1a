"""Model performance of a model on a data set: with labels, or against the original's outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.data.source import Dataset
from tierwise.errors import DataError
from tierwise.progress import SILENT, Progress
from tierwise.quality.figure import QualityFigure
from tierwise.quality.metrics import intersection_over_union
from tierwise.quality.task import JUDGES, Outputs, Score, Task, class_map, class_scores
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.stats.binomial import binomial_cdf

# heuristic: a model that knows nothing is taken for one that does once in a hundred studies.
_CHANCE = 0.01
# An answer's agreement with itself is 1, but for rounding.
_ITSELF = 0.99

ModelSource = Path | bytes | ir.Model
Run = Callable[[Mapping[str, np.ndarray]], Outputs]
"""Whatever turns a model's inputs into its outputs: a session, chained segments, a deployment."""


@dataclass(frozen=True)
class Reference:
    """The original's answers on a data set: what losses and agreements are against.

    Attributes:
        outputs: What judging needs of the original's outputs, for every input.
        figure: The original's own quality.
    """

    outputs: tuple[Outputs, ...]
    figure: QualityFigure


def evaluate(
    model: ModelSource | Run,
    dataset: Dataset,
    task: Task,
    reference: Reference | None = None,
    *,
    options: SessionOptions | None = None,
    progress: Progress = SILENT,
) -> QualityFigure:
    """Quality of ``model`` on every input of ``dataset``.

    With labels it is top-1 (and top-5) or mIoU; without labels, and always for the task ``any``,
    it is the agreement with the original (``from_labels`` is then false).

    Args:
        model: A model, or anything that runs one.
        dataset: Data that nothing was fitted on.
        task: What the outputs mean.
        reference: The original's answers on the same data; without it, ``model`` is the original
            (and agrees with itself).
        options: How the session runs, if one is opened.
        progress: Told of every input.

    Raises:
        DataError: the outputs or the labels do not fit the task, or ``reference`` is of other data.
    """
    if reference is None:
        return refer(model, dataset, task, options=options, progress=progress).figure
    if len(reference.outputs) != len(dataset):
        raise DataError(
            f"The reference has {len(reference.outputs)} inputs, the data {len(dataset)}: "
            "both must be of the same data."
        )
    truths = _truths(dataset, task) or reference.outputs
    scores = []
    with progress.task("quality", len(dataset)) as bar:
        run = _runner(model, options)
        for index in range(len(dataset)):
            scores.append(JUDGES[task](run(dataset.feeds(index)), truths[index]))
            bar.advance()
    figure = _figure(scores, dataset, task)
    return replace(figure, loss=reference.figure.value - figure.value)


def refer(
    model: ModelSource | Run,
    dataset: Dataset,
    task: Task,
    *,
    options: SessionOptions | None = None,
    progress: Progress = SILENT,
) -> Reference:
    """Run the original over ``dataset`` once and keep what later evaluations compare with.

    Raises:
        DataError: as :func:`evaluate`.
    """
    if len(dataset) == 0:
        raise DataError("There is no input to evaluate on; at least one is required.")
    truths = _truths(dataset, task)
    kept, scores = [], []
    with progress.task("quality of the original", len(dataset)) as bar:
        run = _runner(model, options)
        for index in range(len(dataset)):
            outputs = run(dataset.feeds(index))
            kept.append(_digest(outputs, task))
            scores.append(JUDGES[task](outputs, truths[index] if truths else kept[-1]))
            bar.advance()
    return Reference(tuple(kept), _figure(scores, dataset, task))


def quality_caveats(figure: QualityFigure, dataset: Dataset) -> tuple[ResultWarning, ...]:
    """What to know before believing ``figure``: no labels, random input."""
    found = []
    if dataset.random:
        found.append(
            ResultWarning(
                WarningKind.RANDOM_INPUT,
                "",
                f"{figure.n} random inputs: they say nothing about quality on real ones.",
                "Give real inputs: `data: {images: FOLDER}` or `data: {npz: FILE}`.",
            )
        )
    if not figure.from_labels:
        found.append(
            ResultWarning(
                WarningKind.NO_LABELS,
                "",
                f"No labels: {figure.metric} is with the original model's own answers "
                f"on {figure.n} inputs, not with the truth.",
                "Give labels: `data: {labels: FILE.csv}`, or `labels` in the npz.",
            )
        )
    return tuple(found)


def setup_caveats(original: QualityFigure, dataset: Dataset) -> tuple[ResultWarning, ...]:
    """Whether the original answers by chance, or nothing: a wrong set-up and not a bad model."""
    if not original.from_labels:
        return _no_answer(original)
    if original.metric != "top-1" or dataset.labels is None:
        return ()
    classes = max(len(np.unique(dataset.labels)), 2)
    right = round(float(original.per_input.sum()))
    by_chance = 1 - binomial_cdf(right - 1, original.n, 1 / classes)
    if by_chance < _CHANCE:
        return ()
    return (
        ResultWarning(
            WarningKind.LIKE_GUESSING,
            "",
            f"The model as it is has {right} of {original.n} inputs of {classes} classes right.",
            "Check `preprocess` (scale, mean, std, color, layout) and that labels count the "
            "model's classes from 0, in its order.",
        ),
    )


def _no_answer(original: QualityFigure) -> tuple[ResultWarning, ...]:
    """Whether it does not even agree with itself."""
    count = int(np.count_nonzero(original.per_input < _ITSELF))
    if not count:
        return ()
    return (
        ResultWarning(
            WarningKind.NO_ANSWER,
            "",
            f"The model as it is has no answer to {count} of {original.n} inputs: its values are "
            "no numbers (NaN), or the same for every class.",
            "Check `preprocess` and the data: the model cannot compute with such inputs.",
        ),
    )


def _truths(dataset: Dataset, task: Task) -> Sequence[int | np.ndarray] | None:
    """The labels that the task judges by, or ``None``."""
    labels = dataset.labels
    if labels is None or task == "any":
        return None
    wanted = 1 if task == "classification" else 3
    if labels.ndim != wanted:
        what = "class ids, one per input" if wanted == 1 else "masks, (n, height, width)"
        raise DataError(
            f"The task is {task}, which needs labels that are {what}; "
            f"these have the shape {labels.shape}.",
            hint="Set the task that the labels are for.",
        )
    return [int(label) for label in labels] if wanted == 1 else list(labels)


def _runner(model: ModelSource | Run, options: SessionOptions | None) -> Run:
    if callable(model):
        return model
    return open_session(model, options or SessionOptions()).run


def _digest(outputs: Outputs, task: Task) -> Outputs:
    """What judging against the original needs: class maps are far smaller than their scores."""
    if task == "classification":
        return {"scores": class_scores(outputs).copy()}
    if task == "segmentation":
        predicted, _ = class_map(outputs, None)
        if predicted.max(initial=0) < 256 and predicted.min(initial=0) >= 0:
            predicted = predicted.astype(np.uint8)
        return {"class map": predicted}
    return {name: value.copy() for name, value in outputs.items()}


def _figure(scores: Sequence[Score], dataset: Dataset, task: Task) -> QualityFigure:
    from_labels = _truths(dataset, task) is not None
    per_input = np.array([score.value for score in scores])
    value = float(per_input.mean())
    more = {
        name: 100 * float(np.mean([score.more[name] for score in scores]))
        for name in scores[0].more
        if all(name in score.more for score in scores)
    }
    if task == "segmentation":
        value = _dataset_miou(scores)
    return QualityFigure(
        metric="top-1" if task == "classification" and from_labels else scores[0].metric,
        value=100 * value,
        loss=0.0,
        n=len(scores),
        from_labels=from_labels,
        per_input=per_input,
        more=more,
    )


def _dataset_miou(scores: Sequence[Score]) -> float:
    """The mIoU as the field reports it: over the pixels of all inputs, classes that occur."""
    classes = max(len(score.pixels) for score in scores if score.pixels is not None)
    confusion = np.zeros((classes, classes), np.int64)
    pixels = np.zeros(classes, np.int64)
    for score in scores:
        if score.confusion is not None and score.pixels is not None:
            size = len(score.pixels)
            confusion[:size, :size] += score.confusion
            pixels[:size] += score.pixels
    iou = intersection_over_union(confusion, pixels)
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else 1.0
