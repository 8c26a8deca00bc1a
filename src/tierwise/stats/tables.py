"""An analysis as tables: the same rows for text, CSV, LaTeX and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from enum import Enum

from tierwise.stats.analysis import Analysis, Comparison, PairedComparison
from tierwise.tables import Cell, Table

_OMNIBUS = ("test", "k", "n", "statistic", "p", "log10_p")
_PAIRS = (
    "a", "b", "p_raw", "log10_p_raw", "p_holm", "p_bonferroni", "cliffs_delta", "magnitude",
)  # fmt: skip
_SUMMARY = (
    "n", "min", "max", "median", "mean", "std", "std_ddof1", "p95", "shapiro_w", "shapiro_p",
)  # fmt: skip


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
