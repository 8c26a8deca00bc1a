"""Writes a report in the format that is asked for."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tierwise.errors import UserError
from tierwise.recommend.recommendation import Recommendation
from tierwise.report.page import render_page
from tierwise.store.results import StudyResults


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
    """
    assert recommendation.results is results
    if format not in FORMATS:
        raise UserError(
            f"There is no report format {format!r}.",
            hint=f"Choose --format {', '.join(FORMATS)}.",
            format=format,
        )
    return FORMATS[format](recommendation, out)


def write_whole(path: Path, text: str) -> Path:
    """Write ``text`` so that ``path`` never holds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _write_html(recommendation: Recommendation, out: Path) -> tuple[Path, ...]:
    path = out if out.suffix.lower() in {".html", ".htm"} else out / "report.html"
    return (write_whole(path, render_page(recommendation)),)


Writer = Callable[[Recommendation, Path], tuple[Path, ...]]
FORMATS: Mapping[str, Writer] = {"html": _write_html}
