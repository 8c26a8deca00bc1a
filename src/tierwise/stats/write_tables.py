"""Tables into a folder, one file each, never half a file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tierwise.disk import write_whole
from tierwise.errors import UserError
from tierwise.stats.tables import Table, format_cell


def plain_text(table: Table) -> str:
    """The table in columns of plain text."""
    rows = [table.columns, *(tuple(format_cell(cell) for cell in row) for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    return "\n".join([table.title, "", *lines]) + "\n"


# Format -> the ending of its files, and what makes their content.
SUFFIXES: Mapping[str, tuple[str, Callable[[Table], str]]] = {
    "text": (".txt", plain_text),
    "csv": (".csv", Table.csv),
    "latex": (".tex", Table.latex),
}


def write_tables(tables: Sequence[Table], folder: Path, format_name: str) -> tuple[Path, ...]:
    """Write each table as ``folder/NAME.csv`` (``.txt``, ``.tex``), replacing what was there.

    Raises:
        UserError: ``folder`` is a file.
        DiskFull: no space is left; no half-written file stays.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file.", hint="Give a folder with -o DIR.", path=folder)
    suffix, render = SUFFIXES[format_name]
    return tuple(write_whole(folder / f"{table.name}{suffix}", render(table)) for table in tables)
