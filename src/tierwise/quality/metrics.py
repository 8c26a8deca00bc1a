"""Task metrics on arrays: pure NumPy, one input or one set of inputs at a time."""

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped


def top_k_hit(scores: Float[np.ndarray, " classes"], label: int, k: int) -> bool:
    """Whether class ``label`` is among the ``k`` highest ``scores``.

    Ties are counted against the model: a class that shares its score with others is placed behind
    all of them, so that a constant output hits nothing. Scores that are not numbers miss.
    """
    if np.isnan(scores).any():
        return False
    return bool(np.count_nonzero(scores >= scores[label]) <= k)


def confusion_matrix(
    predicted: Integer[np.ndarray, "*size"],
    truth: Integer[np.ndarray, "*size"],
    classes: int,
    ignore: int | None = None,
) -> Int[np.ndarray, "classes classes"]:
    """Pixels by true class (rows) and predicted class (columns).

    Args:
        predicted: Class ids; ids outside of ``range(classes)`` count as wrong for the true class
            by falling into no column, so rows may add up to less than their pixels.
        truth: Class ids in ``range(classes)``, or ``ignore``.
        classes: Number of classes.
        ignore: Label whose pixels are not judged.
    """
    judged = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    known = judged & (predicted >= 0) & (predicted < classes)
    pairs = truth[known].astype(np.int64) * classes + predicted[known].astype(np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def intersection_over_union(
    confusion: Int[np.ndarray, "classes classes"], pixels: Int[np.ndarray, " classes"]
) -> Float[np.ndarray, " classes"]:
    """IoU of every class; NaN for classes that neither truth nor prediction has.

    Args:
        confusion: From :func:`confusion_matrix`, possibly summed over inputs.
        pixels: Judged pixels of every true class (the confusion's rows, unless predictions fell
            outside of the classes).
    """
    hits = np.diag(confusion)
    union = pixels + confusion.sum(axis=0) - hits
    found: Float[np.ndarray, " classes"] = np.full(len(hits), np.nan)
    np.divide(hits, union, out=found, where=union > 0)
    return found


def class_pixels(
    truth: Integer[np.ndarray, "*size"], classes: int, ignore: int | None
) -> Int[np.ndarray, " classes"]:
    """Judged pixels of every true class."""
    flat = truth.reshape(-1).astype(np.int64)
    if ignore is not None:
        flat = flat[flat != ignore]
    return np.bincount(flat, minlength=classes)[:classes].astype(np.int64)


def cosine(a: Shaped[np.ndarray, "*shape"], b: Shaped[np.ndarray, "*shape"]) -> float:
    """Cosine similarity of two tensors as vectors, in [-1, 1].

    Two all-zero tensors are the same (1); one against anything else has no direction (0). Values
    that are not finite give 0, whatever the other side is.
    """
    # Scaled first: squares of float32 activations overflow sooner than the activations do.
    x, y = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return 0.0
    x_top, y_top = np.abs(x).max(initial=0.0), np.abs(y).max(initial=0.0)
    if x_top == 0.0 or y_top == 0.0:
        return float(x_top == y_top)
    x, y = x / x_top, y / y_top
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def equal_share(a: Shaped[np.ndarray, "*shape"], b: Shaped[np.ndarray, "*shape"]) -> float:
    """Share of elements that are equal, in [0, 1]; 1 for two empty tensors."""
    same: Bool[np.ndarray, "*shape"] = a == b
    return float(same.mean()) if same.size else 1.0


def relative_error(value: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square of the difference against that of ``reference``; 0 where both are 0."""
    difference = float(np.linalg.norm((value.astype(np.float64) - reference).reshape(-1)))
    size = float(np.linalg.norm(reference.astype(np.float64).reshape(-1)))
    if difference == 0.0:
        return 0.0
    return difference / size if size > 0 else np.inf
