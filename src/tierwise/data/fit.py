"""Whether an array is what a model's input wants."""

from typing import Protocol

import numpy as np

from tierwise.errors import DataError


class InputSpec(Protocol):
    """One input of a model, as the runtime's sessions describe it."""

    @property
    def name(self) -> str:
        """Name of the input."""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Sizes, ``None`` where the model leaves one free."""

    @property
    def dtype(self) -> str:
        """NumPy's name of the element type."""


def fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether ``shape`` has the rank of ``wanted`` and its size on every axis that is not free."""
    return len(shape) == len(wanted) and all(
        size is None or size == got for size, got in zip(wanted, shape, strict=True)
    )


def show(shape: tuple[int | None, ...]) -> str:
    """``(None, 3)`` as ``"[any, 3]"``."""
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def check_image(array: np.ndarray, wanted: InputSpec, image: str) -> None:
    """Raise :class:`DataError` unless the pre-processed ``image`` goes into input ``wanted``."""
    if fits(array.shape, wanted.shape) and array.dtype == np.dtype(wanted.dtype):
        return
    hint = "Change `resize`, `crop`, `color`, `layout` or `dtype` in the `preprocess` section."
    batch = wanted.shape[0] if len(wanted.shape) == array.ndim else None
    if batch not in {None, 1} and fits(array.shape[1:], wanted.shape[1:]):
        hint = (
            f"The model takes batches of {batch} only, and a request is one image: export it with "
            f"a free batch or one of 1, or give whole batches as an npz (`data: {{npz: FILE}}`)."
        )
    raise DataError(
        f"The image {image!r} becomes {array.dtype} {show(array.shape)}, but the model's input "
        f"{wanted.name!r} is {wanted.dtype} {show(wanted.shape)}.",
        hint=hint,
        input=wanted.name,
    )
