"""Colours by name, for light and dark; told apart by every kind of colour vision."""

import json
from collections.abc import Mapping
from typing import Any

# Okabe and Ito, 2008 (jfly.uni-koeln.de/color), darker on white and lighter on black where their
# contrast with the ground is below 3:1; the tiers are one hue from light to dark, so that compute
# reads as one group.
LIGHT: Mapping[str, str] = {
    "--ink": "#1c2430", "--quiet": "#5d6b7c", "--line": "#dfe4ea", "--ground": "#ffffff",
    "--accent": "#0b7a5b",
    "--c-I": "#6b7280", "--c-Q": "#0072b2", "--c-E": "#d55e00", "--c-QE": "#009e73",
    "--tier-0": "#9ecae1", "--tier-1": "#4292c6", "--tier-2": "#084594", "--tier-3": "#6a51a3",
    "--transfer": "#e69f00", "--processing": "#cc79a7", "--serving": "#a9b1bb",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "--ink": "#e6eaf0", "--quiet": "#9aa7b6", "--line": "#2c3643", "--ground": "#151b23",
    "--accent": "#41c79b",
    "--c-I": "#a3adba", "--c-Q": "#56b4e9", "--c-E": "#f0935a", "--c-QE": "#2fc296",
    "--tier-0": "#c6dbef", "--tier-1": "#6baed6", "--tier-2": "#2f7fc1", "--tier-3": "#9e9ac8",
    "--transfer": "#e8ab2d", "--processing": "#d995bd", "--serving": "#6d7886",
}  # fmt: skip
VARIANTS = ("I", "Q", "E", "QE")
TIERS = ("--tier-0", "--tier-1", "--tier-2", "--tier-3")
# Vega's own defaults say "chart"; this says "page".
CONFIG: Mapping[str, Any] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "--quiet", "titleColor": "--quiet", "gridColor": "--line",
        "domainColor": "--line", "tickColor": "--line", "titleFontWeight": "normal",
        "labelFontSize": 12, "titleFontSize": 12, "labelLimit": 260, "titlePadding": 8,
        "labelOverlap": "greedy",
    },
    "legend": {
        "labelColor": "--quiet", "titleColor": "--quiet", "labelFontSize": 12,
        "titleFontSize": 12, "titleFontWeight": "normal", "orient": "top",
        "symbolBaseStrokeColor": "--quiet", "symbolOpacity": 1,
    },
    "text": {"fontSize": 12, "color": "--ink"},
}  # fmt: skip


def painted(specification: Any, palette: Mapping[str, str]) -> Any:
    """``specification`` with every name of a colour replaced by the colour."""
    if isinstance(specification, dict):
        return {key: painted(value, palette) for key, value in specification.items()}
    if isinstance(specification, list):
        return [painted(value, palette) for value in specification]
    if isinstance(specification, str):
        return palette.get(specification, specification)
    return specification


def as_css(palette: Mapping[str, str]) -> str:
    """``"--ink: #1c2430; ..."``."""
    return " ".join(f"{name}: {colour};" for name, colour in palette.items())


def as_script(palette: Mapping[str, str]) -> str:
    """The palette as a JavaScript object."""
    return json.dumps(dict(palette))
