"""What a model's outputs mean, and how good they are for one input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tierwise.errors import DataError
from tierwise.quality.metrics import (
    class_pixels,
    confusion_matrix,
    cosine,
    equal_share,
    intersection_over_union,
    top_k_hit,
)

Task = Literal["classification", "segmentation", "any"]
Outputs = Mapping[str, np.ndarray]

IGNORE_LABEL = 255
"""Mask value of pixels that are not judged: the convention of Pascal VOC and Cityscapes."""


@dataclass(frozen=True)
class Score:
    """How good the outputs for one input are.

    Attributes:
        value: In [0, 1].
        metric: What ``value`` is where the truth is the original's answer.
        more: Further scores in [0, 1] by metric.
        confusion: Segmentation: pixels by true and predicted class.
        pixels: Segmentation: judged pixels of every true class.
    """

    value: float
    metric: str
    more: Mapping[str, float]
    confusion: np.ndarray | None = None
    pixels: np.ndarray | None = None


Judge = Callable[[Outputs, Outputs | int | np.ndarray], Score]
"""Scores outputs against a label (class id or mask), or against the original's outputs."""


def class_scores(outputs: Outputs) -> np.ndarray:
    """The output that holds the class scores, as a vector.

    It is the first floating-point output with two or more elements; its leading axes must be 1.

    Raises:
        DataError: no output looks like class scores.
    """
    for value in outputs.values():
        if np.issubdtype(value.dtype, np.floating) and value.size > 1:
            scores = np.squeeze(value)
            if scores.ndim == 1:
                return scores
    shapes = ", ".join(f"{name} {value.shape}" for name, value in outputs.items())
    raise DataError(
        f"No output holds one score per class: the outputs are {shapes}.",
        hint="Set `task: any` to judge by agreement with the original, or `task: segmentation`.",
    )


def judge_classification(outputs: Outputs, truth: Outputs | int | np.ndarray) -> Score:
    """Top-1 and (from six classes on) top-5 hit of the true class, or of the original's."""
    scores = class_scores(outputs)
    if isinstance(truth, Mapping):
        original = class_scores(truth)
        if original.shape != scores.shape:
            return Score(0.0, "agreement", {})
        label = int(np.argmax(original))
    else:
        label = int(truth)
        if not 0 <= label < len(scores):
            raise DataError(
                f"Label {label} is none of the model's {len(scores)} classes (0 to "
                f"{len(scores) - 1}).",
                hint="Labels are class ids from 0, in the order of the model's output.",
                label=label,
            )
    more = {"top-5": float(top_k_hit(scores, label, 5))} if len(scores) > 5 else {}
    return Score(float(top_k_hit(scores, label, 1)), "agreement", more)


def judge_segmentation(outputs: Outputs, truth: Outputs | int | np.ndarray) -> Score:
    """IoU over the classes of one input, against a mask or against the original's class map."""
    if isinstance(truth, Mapping):
        original, _ = class_map(truth, None)
        predicted, _ = class_map(outputs, original.shape)
        if predicted.shape != original.shape:
            return Score(0.0, "mIoU", {})
        return _score_map(predicted, original, ignore=None)
    mask = np.asarray(truth)
    predicted, classes = class_map(outputs, mask.shape)
    if predicted.shape != mask.shape:
        raise DataError(
            f"A mask is {' x '.join(map(str, mask.shape))}, but the model's class map is "
            f"{' x '.join(map(str, predicted.shape))}.",
            hint="Masks must have the size of the model's output after pre-processing.",
        )
    highest = int(mask[mask != IGNORE_LABEL].max(initial=0))
    if classes is not None and highest >= classes:
        raise DataError(
            f"A mask has class {highest}, but the model knows {classes} classes (0 to "
            f"{classes - 1}).",
            hint=f"Mark pixels that are not judged with {IGNORE_LABEL}.",
            label=highest,
        )
    return _score_map(predicted, mask, ignore=IGNORE_LABEL)


def _score_map(predicted: np.ndarray, truth: np.ndarray, *, ignore: int | None) -> Score:
    highest = max(int(predicted.max(initial=0)), int(truth[truth != ignore].max(initial=0)))
    classes = highest + 1
    confusion = confusion_matrix(predicted, truth, classes, ignore)
    pixels = class_pixels(truth, classes, ignore)
    iou = intersection_over_union(confusion, pixels)
    accuracy = {"pixel accuracy": float(np.trace(confusion)) / max(1, int(pixels.sum()))}
    value = float(np.nanmean(iou)) if np.isfinite(iou).any() else 1.0
    return Score(value, "mIoU", accuracy, confusion, pixels)


def class_map(
    outputs: Outputs, mask_shape: tuple[int, ...] | None
) -> tuple[np.ndarray, int | None]:
    """Class of every pixel, shape ``(h, w)``, and the number of classes where it can be told.

    Takes the first output that is an integer class map (``(1, h, w)`` or ``(h, w)``) or scores
    with the classes on the second (NCHW) or last (NHWC) axis. The mask's shape tells which; where
    it does not, the shorter of the two axes holds the classes.

    Raises:
        DataError: no output is either.
    """
    for value in outputs.values():
        rank = value.ndim
        if rank == 4 and value.shape[0] == 1 and np.issubdtype(value.dtype, np.floating):
            nchw, nhwc = value.shape[2:] == mask_shape, value.shape[1:3] == mask_shape
            last = nhwc if nchw != nhwc else value.shape[3] < value.shape[1]
            axis = 3 if last else 1
            scores = np.nan_to_num(value[0], nan=-np.inf)
            return np.argmax(scores, axis=axis - 1), value.shape[axis]
        if np.issubdtype(value.dtype, np.integer) and rank >= 2 and value.size > 1:
            plane = value.reshape(value.shape[-2:]) if value.size == _plane(value) else None
            if plane is not None:
                return plane, None
    shapes = ", ".join(f"{name} {value.shape}" for name, value in outputs.items())
    raise DataError(
        f"No output is a class map: the outputs are {shapes}.",
        hint="Set `task: any` to judge by agreement with the original.",
    )


def _plane(value: np.ndarray) -> int:
    return int(value.shape[-1] * value.shape[-2])


def judge_any(outputs: Outputs, truth: Outputs | int | np.ndarray) -> Score:
    """Agreement with the original, output by output; the score is their mean.

    Floating-point outputs are compared by cosine (negative counts as 0), all others by the share
    of equal elements. Where an output looks like class scores, top-1 agreement is reported too.
    An output whose shape differs from the original's agrees in nothing.
    """
    assert isinstance(truth, Mapping), "only classification and segmentation have labels"
    scores: dict[str, float] = {}
    more: dict[str, float] = {}
    for name, original in truth.items():
        value = outputs[name]
        floating = np.issubdtype(original.dtype, np.floating)
        if value.shape != original.shape:
            scores[name] = 0.0
        elif floating:
            scores[name] = max(0.0, cosine(value, original))
            if original.ndim == 2 and original.shape[0] == 1 and original.shape[1] > 1:
                same = top_k_hit(value[0], int(np.argmax(original[0])), 1)
                more[f"top-1 agreement of {name}"] = float(same)
        else:
            scores[name] = equal_share(value, original)
        kind = "cosine" if floating else "agreement"
        if len(truth) > 1:
            more[f"{kind} of {name}"] = scores[name]
    floating = any(np.issubdtype(value.dtype, np.floating) for value in truth.values())
    metric = "cosine" if floating else "agreement"
    return Score(float(np.mean(list(scores.values()))), metric, more)


JUDGES: Mapping[Task, Judge] = {
    "classification": judge_classification,
    "segmentation": judge_segmentation,
    "any": judge_any,
}
