"""Charts as PNG and SVG files, drawn without a browser."""

from pathlib import Path
from typing import Any

import vl_convert

from tierwise.disk import write_whole
from tierwise.report.figures.figure import FILE_WIDTH, Figure
from tierwise.report.palette import CONFIG, LIGHT, painted


def write_images(figure: Figure, folder: Path) -> tuple[Path, Path]:
    """``figure`` as ``<name>.png`` (twice the size, for sharp print) and ``<name>.svg``."""
    spec: dict[str, Any] = dict(figure.chart.to_dict(validate=False))
    spec["width"] = FILE_WIDTH
    spec["config"] = dict(CONFIG) | {"background": "--ground"}
    spec = painted(spec, LIGHT)
    png, svg = folder / f"{figure.name}.png", folder / f"{figure.name}.svg"
    write_whole(png, vl_convert.vegalite_to_png(spec, scale=2))
    write_whole(svg, vl_convert.vegalite_to_svg(spec))
    return png, svg
