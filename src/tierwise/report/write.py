"""Writes a report in the format that is asked for."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tierwise.disk import write_whole
from tierwise.errors import UserError
from tierwise.recommend.recommendation import Recommendation
from tierwise.report.figures.all import figures
from tierwise.report.images import write_images
from tierwise.report.page import render_page
from tierwise.report.tables import tables
from tierwise.store.results import StudyResults
from tierwise.tables import escape_markdown, write_tables


def write_report(
    results: StudyResults,
    recommendation: Recommendation,
    out: Path,
    format: str = "html",  # noqa: A002
) -> tuple[Path, ...]:
    """Write the report of ``results`` to ``out``.

    Args:
        results: What was measured.
        recommendation: The verdict on it, from the same ``results``.
        out: A file for ``html`` (other formats: see :data:`FORMATS`); a directory gets
            the files under their usual names.
        format: One of :data:`FORMATS`.

    Returns:
        The files written, the one to open first.

    Raises:
        UserError: The format is not known.
        DiskFull: No space is left; no half-written file stays.
    """
    assert recommendation.results is results
    if format not in FORMATS:
        raise UserError(
            f"There is no report format {format!r}.",
            hint=f"Choose --format {', '.join(FORMATS)}.",
            format=format,
        )
    return FORMATS[format](recommendation, out)


def _write_html(recommendation: Recommendation, out: Path) -> tuple[Path, ...]:
    path = out if out.suffix.lower() in {".html", ".htm"} else out / "report.html"
    return (write_whole(path, render_page(recommendation)),)


def _write_markdown(recommendation: Recommendation, out: Path) -> tuple[Path, ...]:
    results = recommendation.results
    images: list[Path] = []
    lines = [
        f"# {escape_markdown(results.name)}: where to deploy {escape_markdown(results.model)}",
        "",
        f"Requirement: {recommendation.requirement}.",
        "",
        escape_markdown_paragraphs(recommendation.verdict),
        "",
    ]
    for figure in figures(recommendation):
        png, svg = write_images(figure, out / "figures")
        images += [png, svg]
        alt = escape_markdown(figure.alt)
        lines += [f"## {figure.title}", "", f"![{alt}](figures/{png.name})", "", figure.caption, ""]
    # All pairs are for programs: hundreds of rows that nobody reads in a document.
    shown = [table for table in tables(recommendation) if table.name != "pairwise"]
    text = "\n".join(lines) + "\n" + "\n".join(table.markdown() for table in shown)
    return write_whole(out / "report.md", text), *images


def escape_markdown_paragraphs(text: str) -> str:
    """Paragraphs of plain text, each escaped."""
    return "\n\n".join(escape_markdown(part) for part in text.split("\n\n"))


def _write_csv(recommendation: Recommendation, out: Path) -> tuple[Path, ...]:
    return write_tables(tables(recommendation), out, "csv")


def _write_latex(recommendation: Recommendation, out: Path) -> tuple[Path, ...]:
    return write_tables(tables(recommendation), out, "latex")


Writer = Callable[[Recommendation, Path], tuple[Path, ...]]
FORMATS: Mapping[str, Writer] = {
    "html": _write_html,
    "markdown": _write_markdown,
    "csv": _write_csv,
    "latex": _write_latex,
}
