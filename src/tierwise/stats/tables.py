"""An analysis as tables: the same rows for text, CSV, LaTeX and JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import Enum

from tierwise.stats.analysis import Analysis, Comparison, PairedComparison

Cell = str | int | float | None
_LATEX_ESCAPES = str.maketrans(
    {
        "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    }
)  # fmt: skip
_OMNIBUS = ("test", "k", "n", "statistic", "p", "log10_p")
_PAIRS = (
    "a", "b", "p_raw", "log10_p_raw", "p_holm", "p_bonferroni", "cliffs_delta", "magnitude",
)  # fmt: skip
_SUMMARY = (
    "n", "min", "max", "median", "mean", "std", "std_ddof1", "p95", "shapiro_w", "shapiro_p",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Named columns and their rows.

    Attributes:
        name: Its file is called ``name.csv`` or ``name.tex``.
        title: What it shows, for people.
        columns: Column names.
        rows: One cell a column.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def csv(self) -> str:
        """As CSV; numbers with every digit they have."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return text.getvalue()

    def latex(self) -> str:
        """As a LaTeX ``tabular`` in a ``table``; needs the package ``booktabs``."""
        numeric = [
            all(not isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))
        ]
        lines = [
            r"\begin{table}",
            rf"\caption{{{_latex(self.title)}}}",
            rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numeric)}}}",
            r"\toprule",
            " & ".join(_latex(name) for name in self.columns) + r" \\",
            r"\midrule",
            *(" & ".join(_latex(format_cell(cell)) for cell in row) + r" \\" for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def records(self) -> list[dict[str, Cell]]:
        """As JSON-ready records; numbers that JSON lacks (infinities) are ``None``."""
        return [
            {
                name: None if isinstance(cell, float) and not abs(cell) < float("inf") else cell
                for name, cell in zip(self.columns, row, strict=True)
            }
            for row in self.rows
        ]


def format_cell(cell: Cell) -> str:
    """A cell for people: 4 significant digits, and an empty one for nothing."""
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def tabulate(
    analysis: Analysis, group_columns: Sequence[str], keys: Sequence[Sequence[str]]
) -> tuple[Table, ...]:
    """The tables of an analysis.

    They are ``summary``, ``omnibus``, ``pairwise`` and, where there are blocks,
    ``pairwise_blocks``, ``paired`` and ``intervals``.

    Args:
        analysis: What to show.
        group_columns: Names of the columns that make a group.
        keys: Every group's values of these columns, in the order of ``analysis.summaries``.
    """
    summary = Table(
        "summary",
        "Samples by group",
        (*group_columns, *_SUMMARY),
        tuple(
            (*key, *(getattr(figures, column) for column in _SUMMARY))
            for key, figures in zip(keys, analysis.summaries.values(), strict=True)
        ),
    )
    omnibus = Table(
        "omnibus",
        "Does any group differ?",
        _OMNIBUS,
        tuple(tuple(asdict(test).values()) for test in analysis.omnibus),
    )
    tables = [summary, omnibus, _pairs("pairwise", "Which pairs differ? (Conover)", analysis.pairs)]
    if analysis.block_pairs:
        title = "Which pairs differ within blocks? (Conover after Friedman)"
        tables.append(_pairs("pairwise_blocks", title, analysis.block_pairs))
        tables.append(_paired(analysis))
    if analysis.intervals:
        title = "Medians over blocks with 95% bootstrap intervals"
        rows: tuple[tuple[Cell, ...], ...] = tuple(
            (*key, interval.estimate, interval.low, interval.high)
            for key, interval in zip(keys, analysis.intervals.values(), strict=True)
        )
        tables.append(Table("intervals", title, (*group_columns, "median", "low", "high"), rows))
    return tuple(tables)


def _pairs(name: str, title: str, pairs: Sequence[Comparison]) -> Table:
    rows = tuple(
        tuple(
            value.value if isinstance(value, Enum) else value
            for value in (getattr(pair, column) for column in _PAIRS)
        )
        for pair in pairs
    )
    return Table(name, title, _PAIRS, rows)


def _paired(analysis: Analysis) -> Table:
    """Whether a pair is within the margin is ``yes`` or ``no``, as in every table."""
    rows: list[tuple[Cell, ...]] = []
    for pair in analysis.paired:
        cells: dict[str, Cell] = asdict(pair)
        for name in ("ties", "within_margin"):
            if cells[name] is not None:
                cells[name] = "yes" if cells[name] else "no"
        rows.append(tuple(cells.values()))
    columns = tuple(field.name for field in fields(PairedComparison))
    return Table("paired", "Block against block (Wilcoxon, ratio)", columns, tuple(rows))


def _latex(text: str) -> str:
    return text.translate(_LATEX_ESCAPES)
