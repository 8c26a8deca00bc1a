"""Anybody's samples from a file: one row a sample, grouped by columns."""

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path

import numpy as np

from tierwise.errors import DataError, UserError
from tierwise.stats.samples_columns import BadRow, Columns, Key
from tierwise.stats.samples_parquet import read_parquet
from tierwise.stats.samples_source import Source

# heuristic: so many rows stay in the CPU's cache while they are taken apart.
_ROWS_AT_ONCE = 1024
_MOST_LINES_NAMED = 5


@dataclass(frozen=True)
class SampleTable:
    """Samples by group, in the order in which groups first appear.

    Attributes:
        group_columns: Names of the columns that make a group.
        value_column: Name of the column of the samples.
        groups: Samples of every group, by its values of ``group_columns``, each of shape ``(n,)``.
        blocks: The block of every sample, by the same keys; empty without a column of them.
        bad_rows: Rows that were left out, in order.
    """

    group_columns: tuple[str, ...]
    value_column: str
    groups: Mapping[Key, np.ndarray]
    blocks: Mapping[Key, Sequence[str]]
    bad_rows: tuple[BadRow, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """A group's values joined by ``/``, in order."""
        return tuple("/".join(key) for key in self.groups)


def read_samples(
    path: Path,
    *,
    group: Sequence[str],
    value: str,
    block: str | None = None,
    skip_bad_rows: bool = False,
) -> SampleTable:
    """Read ``path``: CSV with a header, plain or gzip, or Parquet; ``-`` is standard input.

    Which of them it is, is told by its content.

    Args:
        path: The file.
        group: Columns that make a group.
        value: Column of the samples.
        block: Column that says which samples belong together.
        skip_bad_rows: Leave rows out whose value is not a finite number, or that have more or
            fewer fields than the header; they are in the result's ``bad_rows``.

    Raises:
        UserError: a column is asked for twice.
        DataError: the file is missing, empty or neither CSV nor Parquet; a column is missing; a
            value is not a finite number (``.line``); a group has fewer than 2 samples (``.group``).
        MissingExtra: it is Parquet, and ``pyarrow`` is not installed.
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
    source = Source.open(path)
    read = read_parquet if source.is_parquet else _read_csv
    columns = read(source, asked, len(group))
    if columns.bad_rows and not skip_bad_rows:
        raise _bad_rows_error(source, columns.bad_rows)
    groups, blocks = columns.by_group()
    _check_groups(source, groups, columns.bad_rows)
    return SampleTable(
        tuple(group), value, groups, blocks if block is not None else {}, columns.bad_rows
    )


def _bad_rows_error(source: Source, bad_rows: Sequence[BadRow]) -> DataError:
    first = bad_rows[0]
    more = ""
    if len(bad_rows) > 1:
        others = ", ".join(str(row.line) for row in bad_rows[1 : 1 + _MOST_LINES_NAMED])
        dots = ", ..." if len(bad_rows) > 1 + _MOST_LINES_NAMED else ""
        more = f" {len(bad_rows) - 1} more rows are bad: {others}{dots}."
    return DataError(
        f"Line {first.line} of {source.name} {first.why}.{more}",
        hint="Failed requests have no latency. Take such rows out, or leave them out and list them "
        "with --skip-bad-rows.",
        line=first.line,
    )


def _check_groups(
    source: Source, groups: Mapping[Key, np.ndarray], bad_rows: Sequence[BadRow]
) -> None:
    if not groups:
        what = "but no samples below it" if not bad_rows else "and only bad rows below it"
        raise DataError(
            f"{source.name} has a header {what}.",
            hint="Give a file with one row a sample.",
            path=source.path,
        )
    for key, samples in groups.items():
        if len(samples) < 2:
            raise DataError(
                f"Group {'/'.join(key)!r} of {source.name} has 1 sample; at least 2 are needed.",
                hint="Take the row out, or group by fewer columns with --group.",
                group="/".join(key),
            )


def _read_csv(source: Source, asked: Sequence[str], n_keys: int) -> Columns:
    """The columns ``asked`` for; ``n_keys`` that make a group, the value, and maybe the block."""
    with source.text() as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        _check_header(source, header, asked)
        places = [header.index(name) for name in asked]
        columns = _collect(reader, len(header), places, n_keys)
    return columns or _collect_good(source, len(header), places, n_keys)


def _check_header(source: Source, header: Sequence[str], asked: Sequence[str]) -> None:
    if not header:
        raise DataError(
            f"{source.name} is empty.",
            hint="Give a CSV file with a header and one row a sample.",
            path=source.path,
        )
    for name in asked:
        if header.count(name) != 1:
            how = "no column" if name not in header else f"{header.count(name)} columns"
            raise DataError(
                f"{source.name} has {how} {name!r}; its columns are {', '.join(header)}.",
                hint="Name columns with --group, --value and --block; columns are separated by "
                "commas.",
                column=name,
            )


def _collect(
    reader: Iterator[list[str]], width: int, places: Sequence[int], n_keys: int
) -> Columns | None:
    """All columns, or ``None`` where a row is not as it must be.

    Works on many rows at once with functions that loop in C.
    """
    # itemgetter gives a bare string for a single column.
    key_of, value_of = itemgetter(*places[:n_keys]), itemgetter(places[n_keys])
    block_of = itemgetter(places[-1]) if len(places) > n_keys + 1 else None
    numbers: defaultdict[str | Key, int] = defaultdict(lambda: len(numbers))
    number_parts: list[np.ndarray] = []
    value_parts: list[np.ndarray] = []
    labels: list[str] = []
    lines = filter(None, reader)  # without empty ones
    while rows := list(islice(lines, _ROWS_AT_ONCE)):
        if set(map(len, rows)) != {width}:
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
        if block_of is not None:
            labels += map(block_of, rows)
    return Columns(
        keys=tuple((key,) if isinstance(key, str) else key for key in numbers),
        number=np.concatenate([np.empty(0, np.int64), *number_parts]),
        value=np.concatenate([np.empty(0), *value_parts]),
        labels=labels,
    )


def _collect_good(source: Source, width: int, places: Sequence[int], n_keys: int) -> Columns:
    """Read again, row by row, for the lines that :func:`_collect` could not use."""
    numbers: dict[Key, int] = {}
    number, value, labels, bad = [], [], [], []
    with source.text() as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader)]
        for row in reader:
            if not row:
                continue
            if why := _fault(row, width, places[n_keys], names):
                bad.append(BadRow(reader.line_num, ",".join(row), why))
                continue
            key = tuple(row[place] for place in places[:n_keys])
            number.append(numbers.setdefault(key, len(numbers)))
            value.append(float(row[places[n_keys]]))
            labels += [row[place] for place in places[n_keys + 1 :]]
    return Columns(tuple(numbers), np.array(number, np.int64), np.array(value), labels, tuple(bad))


def _fault(row: Sequence[str], width: int, value: int, names: Sequence[str]) -> str:
    """What is wrong with a row; empty where nothing is."""
    if len(row) != width:
        return f"has {len(row)} fields; the header has {width}"
    if not _is_finite(row[value]):
        return f"has {row[value]!r} as {names[value]!r}; a finite number is needed"
    return ""


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
