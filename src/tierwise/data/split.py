"""Which inputs may be used for what: calibration and evaluation never share one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from tierwise.errors import DataError


@dataclass(frozen=True)
class Split:
    """Disjoint sets of input indices.

    Attributes:
        calibration: Indices that operators may look at, shape ``(c,)``, sorted.
        evaluation: Indices that quality is measured on, shape ``(e,)``, sorted.
        notes: What was done differently from what was asked, in words; empty if nothing.
    """

    calibration: Int[np.ndarray, " c"]
    evaluation: Int[np.ndarray, " e"]
    notes: tuple[str, ...] = ()


def split_indices(
    n: int,
    calibration: int,
    evaluation: int | None,
    seed: int,
    labels: np.ndarray | None = None,
) -> Split:
    """Draw disjoint calibration and evaluation inputs out of ``n``.

    With class labels (shape ``(n,)``) both sets hold every class in proportion. With fewer inputs
    than were asked for, both shrink in the ratio that was asked, and a note says so. The same
    arguments always give the same split.

    Args:
        n: How many inputs there are.
        calibration: How many to calibrate with, at least 0.
        evaluation: How many to evaluate on, at least 1; ``None``: all that calibration leaves.
        seed: Of the draw.
        labels: Class ids to stratify by; other shapes (masks) are not stratified.

    Raises:
        DataError: there are too few inputs for both sets to hold one.
    """
    if calibration < 0 or (evaluation is not None and evaluation < 1):
        raise DataError(
            f"Asked for {calibration} calibration and {evaluation} evaluation inputs; "
            "0 or more and 1 or more are required."
        )
    needed = 2 if calibration else 1
    if n < needed:
        raise DataError(
            f"There are {n} inputs; at least {needed} are required, because calibration and "
            "evaluation never share one.",
            hint="Add inputs to the data, or set the calibration to 0.",
            n=n,
        )
    n_calibration, n_evaluation, notes = _sizes(n, calibration, evaluation)
    order = _order(n, seed, labels)
    return Split(
        calibration=np.sort(order[:n_calibration]),
        evaluation=np.sort(order[n_calibration : n_calibration + n_evaluation]),
        notes=notes,
    )


def _sizes(n: int, calibration: int, evaluation: int | None) -> tuple[int, int, tuple[str, ...]]:
    wanted = calibration + (1 if evaluation is None else evaluation)
    if wanted <= n:
        return calibration, n - calibration if evaluation is None else evaluation, ()
    share = calibration / (calibration + (evaluation or calibration))
    got = min(n - 1, max(1, round(n * share))) if calibration else 0
    asked = "the rest" if evaluation is None else str(evaluation)
    note = (
        f"{n} inputs are fewer than the {calibration} + {asked} asked for: "
        f"{got} calibrate and {n - got} evaluate."
    )
    return got, n - got, (note,)


def _order(n: int, seed: int, labels: np.ndarray | None) -> np.ndarray:
    """A random order of ``range(n)`` in which every stretch holds the classes in proportion."""
    generator = np.random.default_rng(seed)
    if labels is None or labels.ndim != 1:
        return generator.permutation(n)
    if len(labels) != n:
        raise DataError(f"There are {len(labels)} labels for {n} inputs.")
    position = np.empty(n)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        # Members of a class are spread evenly over [0, 1) from a random start.
        position[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.argsort(position, kind="stable")
