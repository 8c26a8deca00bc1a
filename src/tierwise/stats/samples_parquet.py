"""Samples from a Parquet file; needs the extra ``parquet``."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tierwise.errors import DataError, MissingExtra
from tierwise.stats.samples_columns import BadRow, Columns
from tierwise.stats.samples_source import Source


def read_parquet(source: Source, asked: Sequence[str], n_keys: int) -> Columns:
    """The columns ``asked`` for: ``n_keys`` that make a group, the value, and maybe the block.

    Raises:
        DataError: it cannot be read, a column is missing, or the value's holds no numbers.
        MissingExtra: ``pyarrow`` is not installed.
    """
    arrow, parquet = open_pyarrow()
    try:
        with source.binary() as file:
            content = parquet.ParquetFile(file)
            _check_columns(source, content.schema_arrow.names, asked)
            table = content.read(columns=list(asked))
    except arrow.ArrowException as error:
        raise DataError(
            f"{source.name} is not a whole Parquet file: {error}.",
            hint="Write it again, or give a CSV file.",
            path=source.path,
        ) from error
    column = table[asked[n_keys]]
    if not (arrow.types.is_integer(column.type) or arrow.types.is_floating(column.type)):
        raise DataError(
            f"Column {asked[n_keys]!r} of {source.name} holds {column.type}; numbers are needed.",
            hint="Name the column of the samples with --value.",
            column=asked[n_keys],
        )
    values = column.to_numpy().astype(np.float64)
    texts = [table[name].cast(arrow.string()).to_pylist() for name in asked]
    good = np.isfinite(values)
    bad = tuple(
        BadRow(
            row + 1,
            ",".join(str(one[row]) for one in texts),
            f"has {values[row]} as {asked[n_keys]!r}; a finite number is needed",
        )
        for row in np.flatnonzero(~good).tolist()
    )
    numbers: dict[tuple[str, ...], int] = {}
    rows = zip(*(map(str, one) for one in texts[:n_keys]), strict=True)
    number = np.fromiter(
        (
            numbers.setdefault(key, len(numbers))
            for key, fine in zip(rows, good.tolist(), strict=True)
            if fine
        ),
        np.int64,
    )
    labels = [
        str(label)
        for one in texts[n_keys + 1 :]
        for label, fine in zip(one, good.tolist(), strict=True)
        if fine
    ]
    return Columns(tuple(numbers), number, values[good], labels, bad)


def _check_columns(source: Source, names: Sequence[str], asked: Sequence[str]) -> None:
    for name in asked:
        if name not in names:
            raise DataError(
                f"{source.name} has no column {name!r}; its columns are {', '.join(names)}.",
                hint="Name columns with --group, --value and --block.",
                column=name,
            )


def open_pyarrow() -> tuple[Any, Any]:
    """``pyarrow`` and its Parquet module; raises :class:`MissingExtra`."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtra(
            "Parquet needs pyarrow, which is not installed.",
            hint="Install it: pip install 'tierwise[parquet]'. Or use CSV.",
            extra="parquet",
        ) from error
