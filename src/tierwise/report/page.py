"""The report as one HTML file that needs nothing else: no network, no other file."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
import vl_convert

from tierwise.recommend.blocks import in_fewer_blocks
from tierwise.recommend.footprint import energy_of, memory_text, wire_text
from tierwise.recommend.parts import PartGroup, by_group, full_bar_s
from tierwise.recommend.recommendation import Assessment, ConditionVerdict, Recommendation
from tierwise.recommend.route import Stop, route
from tierwise.recommend.shortfall import needed_changes
from tierwise.recommend.words import interval, sweep_text, switch_text
from tierwise.report.figures.all import figures
from tierwise.report.figures.figure import Figure
from tierwise.report.palette import CONFIG, DARK, LIGHT, as_css, as_script
from tierwise.store.results import ProbeFigure
from tierwise.units import format_bandwidth, format_bytes, format_duration

# heuristic: all pairs of all conditions up to this many rows, which nobody reads in a page beyond;
# then it keeps the pairs that the verdict used, and the CSV has the rest.
_MOST_PAIR_ROWS = 3000


def render_page(recommendation: Recommendation) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tierwise.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ms": _milliseconds,
        "duration": format_duration,
        "size": format_bytes,
        "to": interval,
        "p": p_value,
        "memory": memory_text,
        "wire": wire_text,
        "joules": energy_of,
    }
    template = environment.get_template("report.html.j2")
    drawn = figures(recommendation)
    return template.render(
        rec=recommendation,
        results=recommendation.results,
        several=len(recommendation.verdicts) > 1,
        sweep_text=sweep_text(recommendation) if len(recommendation.verdicts) > 1 else "",
        switches=[switch_text(switch) for switch in recommendation.switches],
        sections=[_section(recommendation, verdict) for verdict in recommendation.verdicts],
        figures={figure.name: figure for figure in drawn},
        sweep_figures=[f for f in drawn if f.name.startswith(("sweep-", "predicted-"))],
        specs=json_in_script({f.name: specification(f) for f in drawn}),
        light=as_css(LIGHT),
        dark=as_css(DARK),
        light_script=as_script(LIGHT),
        dark_script=as_script(DARK),
        vega=_vega(),
        probes=[_probe(probe) for probe in recommendation.results.probes],
        groups=list(PartGroup),
        flags=requirement_flags(recommendation),
    )


def specification(figure: Figure) -> dict[str, Any]:
    """Vega-Lite as the page embeds it: as wide as its place, colours still by name."""
    # Not validated here, which takes most of the time of a page; the tests validate.
    spec = dict(figure.chart.to_dict(validate=False))
    spec["width"] = "container"
    spec["config"] = dict(CONFIG)
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec.pop("$schema", None)
    return spec


def json_in_script(value: object) -> str:
    """JSON that cannot end the ``<script>`` it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and vega-embed, inlined once."""
    # The default of vl-convert, which its type stub does not know as one.
    snippet = "window.vegaEmbed=vegaEmbed; window.vega=vega; window.vegaLite=vegaLite;"
    bundle: str = vl_convert.javascript_bundle(snippet)
    assert "</script" not in bundle.lower()
    return bundle


def _section(recommendation: Recommendation, verdict: ConditionVerdict) -> Mapping[str, Any]:
    numbered = [a.latency.p50_s for a in verdict.strategies if a.latency is not None]
    full_s = full_bar_s(numbered)
    total_pairs = sum(len(v.comparisons) for v in recommendation.verdicts)
    every = total_pairs <= _MOST_PAIR_ROWS
    return {
        "verdict": verdict,
        "choice": verdict.choice,
        "fewer": in_fewer_blocks(verdict),
        "route": _route(recommendation, verdict),
        "bars": {a.id: _bar(a, full_s) for a in verdict.strategies},
        "clipped": {a.id for a in verdict.strategies if a.latency and a.latency.p50_s > full_s},
        "against_best": [a for a in verdict.strategies if a.against_best is not None],
        "pairs": verdict.comparisons if every else (),
        "pairs_left_out": not every,
        "changes": needed_changes(recommendation.requirement, verdict)
        if verdict.recommended is None
        else (),
    }


def _route(
    recommendation: Recommendation, verdict: ConditionVerdict
) -> Sequence[Mapping[str, Any]]:
    """The recommended strategy's tiers and links, for the template."""
    if verdict.choice is None:
        return ()
    stops = route(verdict.choice, recommendation.results.topology)
    return [{"is_tier": isinstance(one, Stop), **vars(one)} for one in stops]


def _bar(assessment: Assessment, full_s: float) -> Sequence[tuple[str, str, float]]:
    """Colour, words and share of the full width of every group of parts."""
    colours = {
        PartGroup.COMPUTE: "--tier-1",
        PartGroup.TRANSFER: "--transfer",
        PartGroup.PROCESSING: "--processing",
        PartGroup.SERVING: "--serving",
    }
    return [
        (colours[group], f"{group.value} {format_duration(seconds)}", 100 * seconds / full_s)
        for group, seconds in by_group(assessment.breakdown_s).items()
        if seconds > 0
    ]


def _probe(probe: ProbeFigure) -> Mapping[str, str]:
    def figure(value: float) -> str:
        if probe.quantity == "bandwidth_bit_per_s":
            return format_bandwidth(value)
        return format_duration(value) if probe.quantity == "rtt_s" else f"{value:.3g}"

    off = probe.achieved / probe.asked - 1 if probe.asked else 0.0
    names = {"bandwidth_bit_per_s": "bandwidth", "rtt_s": "round-trip time"}
    return {
        "subject": probe.subject,
        "quantity": names.get(probe.quantity, probe.quantity),
        "asked": figure(probe.asked),
        "achieved": figure(probe.achieved),
        "off": f"{off:+.1%}",
        "far": "yes" if abs(off) > 0.10 else "",
        "backend": probe.backend,
    }


def requirement_flags(recommendation: Recommendation) -> str:
    """The requirement as flags of ``tierwise recommend``."""
    requirement = recommendation.requirement
    flags = []
    if requirement.latency_s is not None:
        flags.append(f"--latency p{requirement.percentile:g}={requirement.latency_s * 1e3:g}ms")
    if requirement.max_loss is not None:
        flags.append(f"--max-loss {requirement.max_loss:g}")
    if requirement.max_memory_bytes is not None:
        flags.append(f"--max-memory {requirement.max_memory_bytes / 2**20:g}MiB")
    return " ".join(flags)


def p_value(p: float | None) -> str:
    """``"<0.001"`` or three digits; ``"n/a"`` where there is none."""
    if p is None:
        return "n/a"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _milliseconds(seconds: float | None) -> str:
    """Three significant digits, without the unit, which the column's head says."""
    if seconds is None:
        return "–"  # noqa: RUF001 - an en dash is how a table says "no figure"
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
