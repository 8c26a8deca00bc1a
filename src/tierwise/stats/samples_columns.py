"""Columns of samples as a reader leaves them, not yet by group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Key = tuple[str, ...]


@dataclass(frozen=True)
class BadRow:
    """A row that is no sample.

    Attributes:
        line: Its line in a CSV file, from 1; of Parquet, the number of the row, from 1.
        text: The row, as it is.
        why: What is wrong with it.
    """

    line: int
    text: str
    why: str


@dataclass(frozen=True)
class Columns:
    """Samples in the order of the file.

    Attributes:
        keys: Values of the columns that make a group, in the order in which groups appear.
        number: The place in ``keys`` of every sample's group, shape ``(n,)``.
        value: The samples, finite, shape ``(n,)``.
        labels: The block of every sample; empty without a column of blocks.
        bad_rows: Rows that are not among them.
    """

    keys: tuple[Key, ...]
    number: np.ndarray
    value: np.ndarray
    labels: Sequence[str]
    bad_rows: tuple[BadRow, ...] = ()

    def by_group(self) -> tuple[dict[Key, np.ndarray], dict[Key, Sequence[str]]]:
        """Samples, and their blocks, by group."""
        order = np.argsort(self.number, kind="stable")
        ends = np.cumsum(np.bincount(self.number, minlength=len(self.keys)))[:-1]
        values = np.split(self.value[order], ends) if self.keys else []
        groups = dict(zip(self.keys, values, strict=True))
        if not len(self.labels):
            return groups, {}
        labels = np.split(np.array(self.labels)[order], ends)
        return groups, {key: part.tolist() for key, part in zip(self.keys, labels, strict=True)}
