"""A table in every format that one is written in, and its file."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tierwise.disk import write_whole
from tierwise.errors import UserError

Cell = str | float | int | bool | None

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
        "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}",
    }
)  # fmt: skip
# Characters that start a table cell, a link, a heading, HTML, ... where a name holds them.
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in r"\`*_[]<>|#"} | {"\n": " "})


@dataclass(frozen=True)
class Table:
    """A table with full precision; a format decides how many digits it shows.

    Attributes:
        name: Its file is called ``name.csv``, ``name.tex``, ...
        title: What it shows, for people.
        columns: Names of the columns, with their units.
        rows: One cell a column; ``None``: no figure.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def csv(self) -> str:
        """RFC 4180, numbers with every digit that they have, an empty field for no figure."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_exact(cell) for cell in row] for row in self.rows)
        return out.getvalue()

    def markdown(self) -> str:
        """A pipe table under a heading."""
        lines = [
            f"## {self.title}",
            "",
            f"| {' | '.join(escape_markdown(name) for name in self.columns)} |",
            f"|{'---|' * len(self.columns)}",
            *(
                f"| {' | '.join(escape_markdown(format_cell(cell)) for cell in row)} |"
                for row in self.rows
            ),
        ]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """A ``booktabs`` table, for a paper to take in."""
        aligned = "".join("r" if self._is_number(i) else "l" for i in range(len(self.columns)))
        lines = [
            f"% {self.title}; needs \\usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{{aligned}}}",
            r"\toprule",
            rf"{' & '.join(name.translate(_LATEX) for name in self.columns)} \\",
            r"\midrule",
            *(
                rf"{' & '.join(format_cell(cell).translate(_LATEX) for cell in row)} \\"
                for row in self.rows
            ),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """Columns of plain text under the title."""
        rows = [self.columns, *([format_cell(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.columns))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([self.title, "", *lines]) + "\n"

    def records(self) -> list[dict[str, Cell]]:
        """As JSON-ready records; numbers that JSON lacks (infinities) are ``None``."""
        return [
            {
                name: None if isinstance(cell, float) and not abs(cell) < float("inf") else cell
                for name, cell in zip(self.columns, row, strict=True)
            }
            for row in self.rows
        ]

    def _is_number(self, column: int) -> bool:
        cells = [row[column] for row in self.rows if row[column] is not None]
        return bool(cells) and all(
            isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells
        )


def format_cell(cell: Cell) -> str:
    """A cell for people: 4 significant digits, and an empty one for nothing."""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return "" if cell is None else str(cell)


def escape_markdown(text: str) -> str:
    """``text`` as text, whatever is in it."""
    return text.translate(_MARKDOWN)


def _exact(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return "" if cell is None else str(cell)


# Format -> the ending of its files, and what makes their content.
FORMATS: Mapping[str, tuple[str, Callable[[Table], str]]] = {
    "text": (".txt", Table.text),
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
    suffix, render = FORMATS[format_name]
    return tuple(write_whole(folder / f"{table.name}{suffix}", render(table)) for table in tables)
