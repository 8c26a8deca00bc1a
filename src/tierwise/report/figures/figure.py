"""A chart with what it shows in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

Row = Mapping[str, object]
# Width of the charts that are written as files; in the page they take the width that is there.
FILE_WIDTH = 720


@dataclass(frozen=True)
class Figure:
    """A drawn chart.

    Attributes:
        name: Of the file, and of the place in the page.
        title: What it shows.
        caption: How to read it.
        alt: What it shows, in words, for those who do not see it.
        chart: Drawn by Vega-Lite; colours are names of the palette (``"--c-Q"``).
        rows: The data drawn.
    """

    name: str
    title: str
    caption: str
    alt: str
    chart: Any  # altair does not export its types to mypy
    rows: Sequence[Row]


def condition_choice() -> alt.Parameter:
    """The parameter through which the page says which network condition to show."""
    return alt.param(name="condition", value=0)


SHOWN = "datum.condition === condition"
