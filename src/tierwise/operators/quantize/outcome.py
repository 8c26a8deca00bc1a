"""What comes out of a search for a quantized model: the variant, and what to know about it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.graph.analysis import Graph
from tierwise.operators.quantize.latency import MIN_GAIN, Meters
from tierwise.operators.quantize.reasons import ADVICE, some_of, why_lossy, why_slow
from tierwise.operators.quantize.recipe import Recipe
from tierwise.operators.quantize.search import Attempt, Candidate, Search
from tierwise.operators.variant import Variant
from tierwise.quality.figure import loss_in_words
from tierwise.runtime.prepare import prepare


@dataclass(frozen=True)
class QuantizedVariant(Variant):
    """A variant with the record of how it was found.

    Attributes:
        recipe: What it was quantized with; ``None``: it is the original, and ``caveats`` say why.
        attempts: Every recipe of the search, in the order of trying.
        metric: What the attempts' losses are points of.
        ratios: Latency in units of fp32's, by place; empty where the original is kept.
    """

    recipe: Recipe | None = None
    attempts: tuple[Attempt, ...] = ()
    metric: str = ""
    ratios: Mapping[str, float] = field(default_factory=dict)


def untouched(graph: Graph, name: str, why: str, advice: str) -> QuantizedVariant:
    """The original, whatever its type, because nothing could be tried."""
    caveat = ResultWarning(WarningKind.NOT_QUANTIZED, name, f"Not quantized: {why}.", advice)
    return QuantizedVariant(name, graph, (f"not quantized: {why}",), (caveat,))


def quantized(search: Search, chosen: Candidate, name: str) -> QuantizedVariant:
    """The variant of the chosen recipe, with what there is to know about it."""
    metric = _metric(search)
    assert chosen.loss is not None  # it was chosen for being within the budget
    notes = (
        chosen.recipe.name,
        f"{_in_places(chosen.ratios)} the latency of fp32",
        f"{loss_in_words(chosen.loss, 2)} of {metric} on {len(search.held_out)} held-out inputs",
        *search.builder.notes,
    )
    caveats = [
        *_of_guard(search, chosen, name),
        *_of_few_inputs(search, name),
        *(_of_place(place, ratio, search, chosen) for place, ratio in chosen.ratios.items()
          if not ratio <= 1 - MIN_GAIN),
    ]  # fmt: skip
    graph = prepare(chosen.model, search.feeds[0], simplify=False)
    return QuantizedVariant(
        name, graph, notes, tuple(caveats), recipe=chosen.recipe,
        attempts=tuple(search.attempts), metric=metric, ratios=chosen.ratios,
    )  # fmt: skip


def too_slow_or_lossy(search: Search, fastest: Candidate | None, name: str) -> QuantizedVariant:
    """The original, and why it stays."""
    timed = [attempt.ratio for attempt in search.attempts if attempt.ratio is not None]
    if fastest is None:
        why = search.attempts[0].outcome
        kind, advice = WarningKind.NOT_QUANTIZED, "Nothing to do: fp32 is deployed."
    elif not timed:
        why = f"no tier could run it: {', '.join(search.meters)}"
        kind, advice = WarningKind.NOT_QUANTIZED, "Give the tier more memory, or leave Q out."
    elif min(timed) > 1 - MIN_GAIN:
        kind, advice = WarningKind.INT8_SLOWER, ADVICE
        why = (
            f"the fastest of {len(timed)} recipes ({fastest.recipe.name}) takes "
            f"{_in_places(fastest.ratios)} the time of fp32; "
            + why_slow(search.graph, fastest.model, _instructions(search.meters), search.feeds[0])
        )
    else:
        kind = WarningKind.QUALITY_GUARD
        why = why_lossy(search.attempts, search.max_loss, late=search.late)
        advice = "Allow more loss with `max_loss`, or give more calibration inputs."
    caveat = ResultWarning(kind, name, f"Kept fp32: {why}.", advice)
    return QuantizedVariant(
        name, search.graph, (f"kept fp32: {why}", *search.builder.notes), (caveat,),
        attempts=tuple(search.attempts), metric=_metric(search),
    )  # fmt: skip


def _in_places(ratios: Mapping[str, float]) -> str:
    """``"0.38 x"``, or ``"0.38 x on mobile, 1.12 x on cloud"``."""
    return ", ".join(
        ("not measured" if math.isnan(ratio) else f"{ratio:.2f} x")
        + (f" on {place}" if place else "")
        for place, ratio in ratios.items()
    )


def _instructions(meters: Meters) -> str:
    return ", ".join(
        meter.instructions + (f" on {place}" if place else "")
        for place, meter in meters.items()
        if meter.instructions
    )


def _metric(search: Search) -> str:
    return "" if search.reference is None else search.reference.figure.metric


def _of_place(place: str, ratio: float, search: Search, chosen: Candidate) -> ResultWarning:
    """A place where fp32 stays, although the recipe pays elsewhere."""
    has = search.meters[place].instructions
    took = (
        "the agent could not run both models, so it was not measured"
        if math.isnan(ratio)
        else f"{chosen.recipe.name} takes {ratio:.2f} x the time of fp32"
    )
    return ResultWarning(
        WarningKind.INT8_SLOWER,
        place,
        f"On {place} {took}" + (f" (the CPU has {has})." if has else "."),
        f"Deploy fp32 on {place}; 8 bits were chosen for the other tiers.",
    )


def _of_guard(search: Search, chosen: Candidate, name: str) -> list[ResultWarning]:
    excluded = chosen.recipe.excluded
    if not excluded:
        return []
    return [
        ResultWarning(
            WarningKind.QUALITY_GUARD,
            name,
            f"{len(excluded)} nodes stay in float, or more than {search.max_loss:g} points would "
            f"be lost: {some_of(excluded)}. Found in {search.guarded} evaluations.",
            "Allow more with `max_loss`, or accept the lower speed.",
        )
    ]


def _of_few_inputs(search: Search, name: str) -> list[ResultWarning]:
    resolution = 100 / len(search.held_out)
    if search.task != "classification" or resolution <= search.max_loss:
        return []
    return [
        ResultWarning(
            WarningKind.FEW_INPUTS,
            name,
            f"{len(search.held_out)} held-out inputs tell losses apart in steps of "
            f"{resolution:.1f} points; the budget is {search.max_loss:g}.",
            f"Give at least {int(1.5 * 100 / max(search.max_loss, 0.1))} calibration inputs.",
        )
    ]
