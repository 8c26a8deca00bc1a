"""Tables as Markdown, CSV and LaTeX text."""

import csv
import io

from tierwise.report.tables import Cell, Table

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
        "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}",
    }
)  # fmt: skip
# Characters that start a table cell, a link, a heading, HTML, ... where a name holds them.
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in r"\`*_[]<>|#"} | {"\n": " "})


def csv_text(table: Table) -> str:
    """RFC 4180, full precision, an empty field for no figure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows([_exact(cell) for cell in row] for row in table.rows)
    return out.getvalue()


def markdown_text(table: Table) -> str:
    """A pipe table under a heading."""
    lines = [
        f"## {table.title}",
        "",
        f"| {' | '.join(_markdown_head(table))} |",
        f"|{'---|' * len(table.header)}",
        *(f"| {' | '.join(_rounded(c).translate(_MARKDOWN) for c in row)} |" for row in table.rows),
    ]
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """``text`` as text, whatever is in it."""
    return text.translate(_MARKDOWN)


def latex_text(table: Table) -> str:
    """A ``booktabs`` table, for a paper to take in."""
    columns = "".join("r" if _is_number(table, i) else "l" for i in range(len(table.header)))
    rows = [" & ".join(_rounded(c).translate(_LATEX) for c in row) + r" \\" for row in table.rows]
    head = " & ".join(name.translate(_LATEX) for name in table.header)
    return "\n".join(
        [
            f"% {table.title}; needs \\usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _markdown_head(table: Table) -> list[str]:
    return [escape_markdown(name) for name in table.header]


def _exact(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return "" if cell is None else str(cell)


def _rounded(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "" if cell is None else str(cell)


def _is_number(table: Table, column: int) -> bool:
    cells = [row[column] for row in table.rows if row[column] is not None]
    return bool(cells) and all(
        isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells
    )
