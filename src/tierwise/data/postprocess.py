"""What is sent back instead of the model's raw output."""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np

from tierwise.errors import DataError

_MOST_CLASSES = 256  # of a class map in uint8


class Postprocess(StrEnum):
    """What the last stage does with the model's outputs before it sends them back.

    ``none``: nothing. ``argmax``: outputs of three or more axes become class maps in uint8, the
    channel axis (1) gone. ``top5``: outputs ``[n, classes]`` become ``NAME.indices`` (int64) and
    ``NAME.scores`` of the five largest, largest first. Outputs of other shapes pass unchanged.
    """

    NONE = "none"
    ARGMAX = "argmax"
    TOP5 = "top5"

    def apply(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs to send back, by name.

        Raises:
            DataError: a class map of more than 256 classes or of a single channel was asked for.
        """
        match self:
            case Postprocess.NONE:
                return dict(outputs)
            case Postprocess.ARGMAX:
                return {
                    name: _class_map(name, value) if value.ndim >= 3 else value
                    for name, value in outputs.items()
                }
            case Postprocess.TOP5:
                reply: dict[str, np.ndarray] = {}
                for name, value in outputs.items():
                    reply |= _top5(name, value) if value.ndim == 2 else {name: value}
                return reply


def _class_map(name: str, scores: np.ndarray) -> np.ndarray:
    classes = scores.shape[1]
    if not 2 <= classes <= _MOST_CLASSES:
        raise DataError(
            f"Output {name!r} of shape {list(scores.shape)} has {classes} channel(s); "
            f"a class map needs 2 to {_MOST_CLASSES} on axis 1.",
            hint="Set `postprocess: none`.",
            output=name,
        )
    class_map: np.ndarray = scores.argmax(axis=1).astype(np.uint8)
    return class_map


def _top5(name: str, scores: np.ndarray) -> dict[str, np.ndarray]:
    count = min(5, scores.shape[1])
    # Stable: of equal scores the smaller index comes first, as in np.argmax.
    indices = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :count]
    return {
        f"{name}.indices": indices.astype(np.int64),
        f"{name}.scores": np.take_along_axis(scores, indices, axis=1),
    }
