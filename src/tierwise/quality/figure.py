"""Model performance of a variant, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class QualityFigure:
    """Model performance of a variant.

    Attributes:
        metric: ``"top-1"``, ``"mIoU"``, ``"agreement"`` or ``"cosine"``.
        value: In points, 0 to 100.
        loss: Points lost against the identity variant (negative: gained).
        n: Number of evaluation inputs.
        from_labels: Whether true labels were there; otherwise the original's output is the truth.
        per_input: Score of every evaluation input in [0, 1], shape ``(n,)``.
        more: Further metrics in points, such as ``{"top-5": 98.1}``.
    """

    metric: str
    value: float
    loss: float
    n: int
    from_labels: bool
    per_input: np.ndarray
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def loss_in_words(self) -> str:
        """``"loses 0.4 points"``, ``"gains 0.2 points"`` or ``"loses nothing"``."""
        return loss_in_words(self.loss)


def loss_in_words(points: float, digits: int = 1) -> str:
    """A loss of ``points`` in a sentence, rounded to ``digits`` decimals; negative: gained."""
    size = round(abs(points), digits)
    if size == 0:
        return "loses nothing"
    verb, noun = "loses" if points > 0 else "gains", "point" if size == 1 else "points"
    return f"{verb} {size:.{digits}f} {noun}"
