"""Compare groups of samples from any file: which differ, by how much, how surely."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich import box
from rich.table import Table as RichTable

from tierwise.cli.terminal import terminal
from tierwise.errors import UserError
from tierwise.stats.analysis import Analysis, Comparison, analyze
from tierwise.stats.omnibus import Omnibus
from tierwise.stats.samples_file import SampleTable, read_samples
from tierwise.stats.tables import tabulate
from tierwise.tables import FORMATS, Table, format_cell, write_tables

# The most figures beside which the groups' names still fit; the least of them fold the names.
_FIGURES = (
    ("n", "min", "median", "mean", "max", "std", "p95", "shapiro_w", "shapiro_p"),
    ("n", "median", "mean", "std", "p95", "shapiro_p"),
    ("n", "median", "std", "p95"),
)
# Digits of a figure with the space around it; the space around a name.
_FIGURE_WIDTH, _PADDING = 12, 3
# A screen or two; the files have them all.
_MOST_PAIRS_SHOWN = 40


def command(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    group: str,
    value: str,
    block: str | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    format: Literal["text", "csv", "latex"] | None = None,  # noqa: A002 - the flag's name
    json: bool = False,
    skip_bad_rows: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Compare groups of samples from any file: which differ, by how much, how surely.

    Works on anybody's numbers: one row a sample, as CSV with a header (plain or gzip) or Parquet:

        tier,operator,image,seconds
        edge,I,cat.png,0.0412

    `tierwise analyze latencies.csv --group tier,operator --value seconds --block image`

    Without `--block` samples count as independent: Shapiro-Wilk (is it normal?), Kruskal-Wallis
    (does any group differ?), Conover's test (which pairs? decide by Holm's p) and Cliff's delta
    (how much do they overlap?). With it, also what sees only differences within a block: Friedman,
    Conover's test after it, Wilcoxon, and whether two are within 3% of each other.

    Args:
        file: The samples; `-` reads standard input.
        group: Columns that make a group, separated by commas.
        value: Column of the samples: finite numbers, in any unit.
        block: Column that says which samples belong together, such as the input. Blocks that lack a
            group are left out, which is said.
        out: Folder to write `summary`, `omnibus` and `pairwise` into, one file each.
        format: How to print or write the tables; text by default, CSV into a folder.
        json: Print everything as JSON.
        skip_bad_rows: Leave out rows without a finite number, or of another length than the header.
            They are counted; with `-o`, `bad_rows.csv` lists them.
    """
    if json and format is not None:
        raise UserError("--json and --format ask for two formats.", hint="Leave one of them out.")
    columns = [name.strip() for name in group.split(",") if name.strip()]
    samples = read_samples(
        file, group=columns, value=value.strip(), block=block, skip_bad_rows=skip_bad_rows
    )
    analysis = _analyse(samples, by_block=block is not None)
    tables = _tabulate(analysis, samples)
    if out is not None:
        paths = write_tables(tables, out, format or "csv")
        terminal.say(f"Wrote {', '.join(path.name for path in paths)} into {out}.")
    if json:
        content: dict[str, object] = {table.name: table.records() for table in tables}
        terminal.json({**content, "notes": list(analysis.notes)})
    elif out is not None:
        return
    elif format in {"csv", "latex"}:
        render = FORMATS[format][1]
        terminal.out.file.write("\n".join(render(table) for table in tables))
    else:
        _show(analysis, samples, tables)


def _analyse(samples: SampleTable, *, by_block: bool) -> Analysis:
    """The comparison, with a note on rows that were left out."""
    blocks = dict(zip(samples.names, samples.blocks.values(), strict=True)) if by_block else None
    analysis = analyze(dict(zip(samples.names, samples.groups.values(), strict=True)), blocks)
    if not samples.bad_rows:
        return analysis
    count = len(samples.bad_rows)
    what = "1 bad row is" if count == 1 else f"{count} bad rows are"
    left_out = f"{what} left out{_first_bad(samples)}."
    return replace(analysis, notes=(*analysis.notes, left_out))


def _tabulate(analysis: Analysis, samples: SampleTable) -> tuple[Table, ...]:
    """Every table of the analysis, and the rows that were left out."""
    tables = tabulate(analysis, samples.group_columns, list(samples.groups))
    if samples.bad_rows:
        rows = tuple((row.line, row.why, row.text) for row in samples.bad_rows)
        tables += (Table("bad_rows", "Rows that are left out", ("line", "why", "row"), rows),)
    return tables


def _first_bad(samples: SampleTable) -> str:
    first = samples.bad_rows[0]
    return f"; the first, line {first.line}, {first.why.split(';')[0]}"


def _show(analysis: Analysis, samples: SampleTable, tables: tuple[Table, ...]) -> None:
    """Print what a person wants to know first; the files have every column."""
    terminal.out.print(_summary(tables[0], samples))
    for test in analysis.omnibus:
        terminal.out.print(_sentence(test))
    terminal.out.print()
    if analysis.block_pairs:  # what sees only differences within a block is what to decide by
        terminal.out.print(_pairs("Pairs of groups, within blocks", analysis.block_pairs))
    elif analysis.pairs:
        terminal.out.print(_pairs("Pairs of groups", analysis.pairs))
    notes = list(analysis.notes)
    if len(analysis.pairs) > _MOST_PAIRS_SHOWN:
        more = len(analysis.pairs) - _MOST_PAIRS_SHOWN
        notes.append(f"{more} more pairs are not shown: write all with -o DIR.")
    for note in notes:
        terminal.out.print(f"[yellow]Note:[/] {note}")


def _width(samples: SampleTable, figures: Sequence[str]) -> int:
    """Columns of a terminal in which groups and ``figures`` stand without being folded."""
    texts = zip(samples.group_columns, *samples.groups, strict=True)
    return sum(max(map(len, of)) + _PADDING for of in texts) + len(figures) * _FIGURE_WIDTH


def _summary(table: Table, samples: SampleTable) -> RichTable:
    figures = next(
        (some for some in _FIGURES if _width(samples, some) <= terminal.out.width), _FIGURES[-1]
    )
    shown = RichTable(box=box.SIMPLE_HEAD, title=samples.value_column, title_justify="left")
    if figures == _FIGURES[-1]:
        shown.caption, shown.caption_justify = "All figures: a wider terminal, or -o DIR.", "left"
    for column in samples.group_columns:
        shown.add_column(column, overflow="fold")
    for column in figures:
        shown.add_column(column.replace("_", " "), justify="right", no_wrap=True)
    for record in table.records():
        shown.add_row(*(format_cell(record[name]) for name in [*samples.group_columns, *figures]))
    return shown


def _sentence(test: Omnibus) -> str:
    unit = "blocks" if test.test == "friedman" else "samples"
    name = test.test.title()
    verdict = "the groups differ" if test.p < 0.05 else "no difference between the groups shows"
    return (
        f"[bold]{name}[/]: {test.statistic:.6g} over {test.k} groups and {test.n} {unit}, "
        f"p = {_p(test.p, test.log10_p)}: {verdict}."
    )


def _pairs(title: str, pairs: tuple[Comparison, ...]) -> RichTable:
    shown = RichTable(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    shown.add_column("a", overflow="fold")
    shown.add_column("b", overflow="fold")
    shown.add_column("p (Holm)", justify="right", no_wrap=True)
    shown.add_column("delta", justify="right", no_wrap=True)
    shown.add_column("effect", no_wrap=True)
    for pair in pairs[:_MOST_PAIRS_SHOWN]:
        style = "" if pair.p_holm < 0.05 else "dim"
        shown.add_row(
            pair.a,
            pair.b,
            "< 1e-300" if pair.p_holm < 1e-300 else f"{pair.p_holm:.2g}",
            f"{pair.cliffs_delta:+.3f}",
            pair.magnitude.value,
            style=style,
        )
    return shown


def _p(p: float, log10_p: float) -> str:
    """A p-value that fits its column, also where it underflows."""
    if p >= 1e-300:
        return f"{p:.2g}"
    return "0" if log10_p == float("-inf") else f"10^{log10_p:.1f}"
