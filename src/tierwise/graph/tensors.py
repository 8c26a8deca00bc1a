"""What is known of one tensor."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TensorInfo:
    """Name, concrete shape and element type of a tensor.

    Attributes:
        name: Its name in the graph.
        shape: Concrete sizes, for one real input.
        dtype: NumPy's name of the element type: ``"float32"``, ``"uint8"``, ``"int64"``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size of the raw data in bytes."""
        return self.elements * np.dtype(self.dtype).itemsize
