"""Anybody's samples from a CSV file: one row a sample, grouped by columns."""

import csv
import gzip
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import NoReturn

import numpy as np

from tierwise.errors import DataError, InternalError, UserError

_GZIP_MAGIC = b"\x1f\x8b"
# 1,000 rows stay in the CPU's cache: 0.8 s for a million, against 1.2 s at 65,536 rows.
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class SampleTable:
    """Samples by group, in the order in which groups first appear.

    Attributes:
        group_columns: Names of the columns that make a group.
        value_column: Name of the column of the samples.
        block_column: Name of the column of the blocks, if there is one.
        groups: Samples of every group, by its values of ``group_columns``, each of shape ``(n,)``.
        blocks: The block of every sample, by the same keys; empty without ``block_column``.
    """

    group_columns: tuple[str, ...]
    value_column: str
    block_column: str | None
    groups: Mapping[tuple[str, ...], np.ndarray]
    blocks: Mapping[tuple[str, ...], Sequence[str]]

    @property
    def names(self) -> tuple[str, ...]:
        """A group's values joined by ``/``, in order."""
        return tuple("/".join(key) for key in self.groups)


def read_samples(
    path: Path, *, group: Sequence[str], value: str, block: str | None = None
) -> SampleTable:
    """Read ``path`` (CSV with a header, plain or gzip).

    Raises:
        UserError: a column is asked for twice.
        DataError: the file is missing, empty or not CSV; a column is missing; a value is not a
            finite number (``.line``); a group has fewer than 2 samples (``.group``).
    """
    asked = [*group, value, *([block] if block is not None else [])]
    twice = next((name for name in asked if asked.count(name) > 1), None)
    if not group or twice is not None:
        what = "No column to group by was named" if not group else f"Column {twice!r} is used twice"
        raise UserError(
            f"{what}: --group, --value and --block take different columns of {path.name}.",
            hint="For example: --group tier,operator --value seconds.",
            column=twice,
        )
    with _open(path) as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, asked)
        columns = _Columns(
            width=len(header),
            keys=tuple(header.index(name) for name in group),
            value=header.index(value),
            block=None if block is None else header.index(block),
        )
        read = _collect(reader, columns)
    if read is None:
        _name_the_fault(path, columns)
    groups, blocks = read
    if not groups:
        raise DataError(
            f"{path} has a header but no samples below it.",
            hint="Give a file with one row a sample.",
            path=path,
        )
    for key, samples in groups.items():
        if len(samples) < 2:
            raise DataError(
                f"Group {'/'.join(key)!r} of {path.name} has 1 sample; at least 2 are needed.",
                hint="Take the row out, or group by fewer columns with --group.",
                group="/".join(key),
            )
    return SampleTable(tuple(group), value, block, groups, blocks)


@contextmanager
def _open(path: Path) -> Iterator[Iterator[str]]:
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
        opener = gzip.open if zipped else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.", path=path) from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder, not a CSV file.", path=path) from error
    except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is not CSV text: {error}.",
            hint="Give a CSV file in UTF-8, plain or compressed with gzip.",
            path=path,
        ) from error


def _check_header(path: Path, header: Sequence[str], asked: Sequence[str]) -> None:
    if not header:
        raise DataError(
            f"{path} is empty.",
            hint="Give a CSV file with a header and one row a sample.",
            path=path,
        )
    for name in asked:
        if header.count(name) != 1:
            how = "no column" if name not in header else f"{header.count(name)} columns"
            raise DataError(
                f"{path.name} has {how} {name!r}; its columns are {', '.join(header)}.",
                hint="Name columns with --group, --value and --block; columns are separated by "
                "commas.",
                column=name,
            )


@dataclass(frozen=True)
class _Columns:
    """Where in a row things are."""

    width: int
    keys: tuple[int, ...]
    value: int
    block: int | None


_Key = tuple[str, ...]


def _collect(
    reader: Iterator[list[str]], columns: _Columns
) -> tuple[dict[_Key, np.ndarray], dict[_Key, Sequence[str]]] | None:
    """Samples and blocks by group, or ``None`` where a row is not as it must be.

    Works on many rows at once with functions that loop in C: a million rows in a second or two.
    """
    # itemgetter gives a bare string for a single column.
    key_of, value_of = itemgetter(*columns.keys), itemgetter(columns.value)
    numbers: defaultdict[str | _Key, int] = defaultdict(lambda: len(numbers))
    number_parts: list[np.ndarray] = []
    value_parts: list[np.ndarray] = []
    labels: list[str] = []
    lines = filter(None, reader)  # without empty ones
    while rows := list(islice(lines, _ROWS_AT_ONCE)):
        if set(map(len, rows)) != {columns.width}:
            return None
        try:
            values = np.fromiter(map(float, map(value_of, rows)), float, len(rows))
        except ValueError:
            return None
        if not np.isfinite(values).all():
            return None
        value_parts.append(values)
        number_parts.append(
            np.fromiter(map(numbers.__getitem__, map(key_of, rows)), np.int64, len(rows))
        )
        if columns.block is not None:
            labels += map(itemgetter(columns.block), rows)
    if not value_parts:
        return {}, {}
    number, value = np.concatenate(number_parts), np.concatenate(value_parts)
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number))[:-1]
    keys = [(key,) if isinstance(key, str) else key for key in numbers]
    groups = dict(zip(keys, np.split(value[order], ends), strict=True))
    if columns.block is None:
        return groups, {}
    by_group = np.split(np.array(labels)[order], ends)
    return groups, {key: part.tolist() for key, part in zip(keys, by_group, strict=True)}


def _name_the_fault(path: Path, columns: _Columns) -> NoReturn:
    """Read again, row by row, for the line that :func:`_collect` could not use."""
    with _open(path) as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader)]
        for row in reader:
            where = f"Line {reader.line_num} of {path.name}"
            if row and len(row) != columns.width:
                raise DataError(
                    f"{where} has {len(row)} fields; the header has {columns.width}.",
                    hint="Complete the line or take it out.",
                    line=reader.line_num,
                )
            if row and not _is_finite(row[columns.value]):
                raise DataError(
                    f"{where} has {row[columns.value]!r} as {names[columns.value]!r}; "
                    "a finite number is needed.",
                    hint="Take failed requests out of the file: they have no latency.",
                    line=reader.line_num,
                    value=row[columns.value],
                )
    raise InternalError(f"{path} could not be read, but every line of it can.")


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
