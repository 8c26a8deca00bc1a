"""The quantize operator: static INT8, where it pays and loses no more than is allowed."""

import time
from collections.abc import Mapping, Sequence

from tierwise.data.source import Dataset
from tierwise.errors import DataError
from tierwise.graph.analysis import Graph
from tierwise.operators.held_out import check_max_loss, hold_out
from tierwise.operators.quantize.build import Builder, CannotQuantize
from tierwise.operators.quantize.latency import LatencyMeter, LocalMeter, Meters
from tierwise.operators.quantize.outcome import (
    QuantizedVariant,
    quantized,
    too_slow_or_lossy,
    untouched,
)
from tierwise.operators.quantize.recipe import PRODUCTS, RECIPES, Backend, Recipe
from tierwise.operators.quantize.search import Search
from tierwise.operators.quantize.with_nncf import require_nncf
from tierwise.progress import SILENT, Progress
from tierwise.quality.task import Task
from tierwise.runtime.instructions import NO_VNNI, cpu_instructions

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
    _check(calibration, max_loss, recipes)
    obstacle = _obstacle(graph)
    if obstacle:
        return untouched(graph, name, obstacle, "Nothing to do: it is deployed as it is.")
    fit, held_out = hold_out(calibration, seed)
    feeds = [fit.feeds(index) for index in range(len(fit))]
    try:
        builder = Builder(graph, feeds)
    except CannotQuantize as exc:
        return untouched(
            graph, name, exc.message, "Simplify the model (constant folding) and retry."
        )
    meters = meter if isinstance(meter, Mapping) else {"": meter or LocalMeter(feeds)}
    recipes = _that_do_not_saturate(recipes, meters, builder.notes)
    search = Search(
        graph, builder, feeds, held_out, task, max_loss,
        deadline_s=time.monotonic() + budget_s, meters=meters, progress=progress,
    )  # fmt: skip
    chosen, fastest = search.run(recipes)
    if chosen is None:
        return too_slow_or_lossy(search, fastest, name)
    return quantized(search, chosen, name)


def _check(calibration: Dataset, max_loss: float, recipes: Sequence[Recipe]) -> None:
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
