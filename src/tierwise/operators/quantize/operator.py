"""The quantize operator: static INT8, where it pays and loses no more than is allowed."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.data.source import Dataset
from tierwise.errors import DataError
from tierwise.graph.analysis import Graph
from tierwise.operators.held_out import check_max_loss, hold_out
from tierwise.operators.quantize.build import Builder, CannotQuantize
from tierwise.operators.quantize.latency import MIN_GAIN, LatencyMeter, LocalMeter, Meters
from tierwise.operators.quantize.reasons import ADVICE, some_of, why_lossy, why_slow
from tierwise.operators.quantize.recipe import PRODUCTS, RECIPES, Backend, Recipe
from tierwise.operators.quantize.search import Attempt, Candidate, Search
from tierwise.operators.quantize.with_nncf import require_nncf
from tierwise.operators.variant import Variant
from tierwise.progress import SILENT, Progress
from tierwise.quality.task import Task
from tierwise.runtime.instructions import NO_VNNI, cpu_instructions
from tierwise.runtime.prepare import prepare

# How the names of operators on integers begin; others end in "Integer" (MatMulInteger).
_QUANTIZED = (
    "QuantizeLinear",
    "DynamicQuantize",
    "QLinear",
    "QGemm",
    "QAttention",
    "MatMulInteger",
)
# Protobuf stops at 2 GiB, and so does the quantizer.
_MOST_WEIGHT_BYTES = 1_800_000_000


@dataclass(frozen=True)
class QuantizedVariant(Variant):
    """A variant with the record of how it was found.

    Attributes:
        recipe: What it was quantized with; ``None``: it is fp32, and ``caveats`` say why.
        attempts: Every recipe of the search, in the order of trying.
        metric: What the attempts' losses are points of.
        ratios: Latency in units of fp32's, by place; empty where fp32 is kept.
    """

    recipe: Recipe | None = None
    attempts: tuple[Attempt, ...] = ()
    metric: str = ""
    ratios: Mapping[str, float] = field(default_factory=dict)

    @property
    def not_faster(self) -> tuple[str, ...]:
        """The places where fp32 is the better choice."""
        return tuple(place for place, ratio in self.ratios.items() if not ratio <= 1 - MIN_GAIN)


def quantize(
    graph: Graph,
    calibration: Dataset,
    *,
    task: Task = "any",
    max_loss: float = 1.0,
    budget_s: float = 60.0,
    seed: int = 0,
    recipes: Sequence[Recipe] = RECIPES,
    meter: LatencyMeter | Meters | None = None,
    name: str = "Q",
    progress: Progress = SILENT,
) -> QuantizedVariant:
    """The fastest 8-bit model that loses at most ``max_loss`` points, or fp32 where none pays.

    Recipes are built, and timed against fp32 where the variant will run. Over several places the
    geometric mean of the ratios counts, none of them as more than 1, because fp32 is what stays
    where 8 bits do not pay. Of the recipes that pay somewhere, the fastest within the quality
    budget wins; where none is within it, other ranges are tried, then the nodes that cause most
    output error are left in float. Ranges come from one part of ``calibration``, quality from the
    other.

    With one recipe the result depends on the arguments alone. With several, their measured
    latencies decide between them.

    Args:
        graph: Prepared (constants folded, batch normalisation merged), in float32.
        calibration: Data that nothing is reported on; labels are used where there are any.
        task: What the outputs mean.
        max_loss: Points of quality that may be lost.
        budget_s: Seconds for the search. At least one recipe is always tried.
        seed: Draws which inputs fit ranges and which judge.
        recipes: What to try, the most promising first.
        meter: Where latencies are measured, one or several by place; default: this process, one
            thread.
        name: Of the variant.
        progress: Told of every recipe.

    Raises:
        DataError: no calibration inputs, or they do not fit the model or the task.
        MissingExtra: the back end of a recipe is not installed.
        TierFault: a meter's tier does not answer.
    """
    if len(calibration) == 0:
        raise DataError(
            "Quantization needs calibration inputs, and there are none.",
            hint="Give some dozens: `calibration: 64` in the study file, or --calibration DIR.",
        )
    check_max_loss(max_loss)
    if not recipes:
        raise DataError("There is no recipe to try; at least one is required.")
    if any(recipe.backend is Backend.NNCF for recipe in recipes):
        require_nncf()
    obstacle = _obstacle(graph)
    if obstacle:
        return _kept(graph, name, obstacle, "Nothing to do: fp32 is deployed.")
    fit, held_out = hold_out(calibration, seed)
    feeds = [fit.feeds(index) for index in range(len(fit))]
    try:
        builder = Builder(graph, feeds)
    except CannotQuantize as exc:
        return _kept(graph, name, exc.message, "Simplify the model (constant folding) and retry.")
    meters = meter if isinstance(meter, Mapping) else {"": meter or LocalMeter(feeds)}
    recipes = _that_do_not_saturate(recipes, meters, builder.notes)
    search = Search(
        graph, builder, feeds, held_out, task, max_loss,
        deadline_s=time.monotonic() + budget_s, meters=meters, progress=progress,
    )  # fmt: skip
    chosen, fastest = search.run(recipes)
    if chosen is None:
        return _fp32(search, fastest, name)
    return _quantized(search, chosen, name)


def _obstacle(graph: Graph) -> str:
    """Why the graph cannot be quantized at all; empty where it can."""
    kinds = {node.op_type for node in graph.data_nodes}
    if any(kind.startswith(_QUANTIZED) or kind.endswith("Integer") for kind in kinds):
        return "the model is quantized already"
    if graph.weight_bytes > _MOST_WEIGHT_BYTES:
        return "its weights are near 2 GiB or more, which ONNX Runtime's quantizer cannot hold"
    work = [node for node in graph.data_nodes if node.op_type in PRODUCTS]
    if not work:
        return f"it has none of the operators that 8 bits speed up ({', '.join(PRODUCTS)})"
    floats = {info.dtype for node in work for value in node.outputs[:1]
              if (info := graph.tensors.get(value.name or ""))}  # fmt: skip
    if floats and "float32" not in floats:
        return f"it computes in {', '.join(sorted(floats))}, not in float32"
    return ""


def _kept(graph: Graph, name: str, why: str, advice: str) -> QuantizedVariant:
    caveat = ResultWarning(WarningKind.INT8_SLOWER, name, f"Kept fp32: {why}.", advice)
    return QuantizedVariant(name, graph, (f"kept fp32: {why}",), (caveat,))


def _that_do_not_saturate(
    recipes: Sequence[Recipe], meters: Meters, notes: list[str]
) -> Sequence[Recipe]:
    """``recipes`` whose quality on every tier is the one that is measured here.

    Without VNNI, 8-bit weights saturate, which costs quality. Where this CPU has it and a tier's
    has not, evaluating here would not notice.
    """
    if cpu_instructions().endswith(NO_VNNI):
        return recipes
    without = [place for place, one in meters.items() if one.instructions.endswith(NO_VNNI)]
    safe = [recipe for recipe in recipes if not recipe.saturates]
    if not without or len(safe) in {0, len(recipes)}:
        return recipes
    notes.append(f"7-bit weights, because others saturate on {', '.join(without)} (no VNNI)")
    return safe


def _quantized(search: Search, chosen: Candidate, name: str) -> QuantizedVariant:
    """The variant of the chosen recipe, with what there is to know about it."""
    metric = _metric(search)
    notes = (
        chosen.recipe.name,
        f"{_in_places(chosen.ratios)} the latency of fp32",
        f"loses {chosen.loss:.2f} points of {metric} on {len(search.held_out)} held-out inputs",
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


def _fp32(search: Search, fastest: Candidate | None, name: str) -> QuantizedVariant:
    """The original, and why it stays."""
    timed = [attempt.ratio for attempt in search.attempts if attempt.ratio is not None]
    if fastest is None:
        why = search.attempts[0].outcome
        kind, advice = WarningKind.INT8_SLOWER, "Nothing to do: fp32 is deployed."
    elif not timed:
        why = f"no tier could run it: {', '.join(search.meters)}"
        kind, advice = WarningKind.INT8_SLOWER, "Give the tier more memory, or leave Q out."
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
