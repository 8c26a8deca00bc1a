"""Quantize a model to 8 bits, with the recipe that is fastest here within a quality budget."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from tierwise.cli.calibration import (
    NO_IMAGE_OPTIONS,
    ImageOptions,
    open_calibration,
    task_of,
)
from tierwise.cli.terminal import terminal
from tierwise.disk import check_output
from tierwise.operators.quantize import (
    BackendChoice,
    LocalMeter,
    QuantizedVariant,
    quantize,
    recipes_named,
)
from tierwise.operators.write import write_model
from tierwise.quality.task import Task
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.units import format_bytes, parse_duration_s


def command(
    model: Path,
    /,
    *,
    calibration: Path,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    images: ImageOptions = NO_IMAGE_OPTIONS,
    task: Task | None = None,
    max_loss: float = 1.0,
    budget: str = "60s",
    recipe: str = "auto",
    backend: BackendChoice = "onnxruntime",
    threads: int = 1,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Quantize a model to 8 bits without training (static INT8).

    Recipes are built and timed against fp32 on this machine, side by side. Of those that are
    faster, the fastest that loses at most `--max-loss` points wins; where none does, its ranges
    are found otherwise, then its most sensitive nodes stay in float. Where no recipe pays, fp32
    is kept and the reason is told. Ranges come from a third of the calibration inputs, quality
    from the others; measure the quality that you report on inputs that are in neither.

    Args:
        model: An ONNX file.
        calibration: A folder of images, an .npz with one array per model input (and `labels`, if
            there are any), or a study file, whose calibration inputs are used.
        out: The ONNX file to write.
        images: For a folder of images.
        task: What the outputs mean. Without it: classification or segmentation where there are
            labels, else the agreement with the original's outputs.
        max_loss: Points of quality that may be lost.
        budget: Time for trying recipes.
        recipe: One recipe by name, instead of trying all; then the result depends on the inputs
            alone.
        backend: Whose recipes are tried: ONNX Runtime's quantizer, NNCF (the extra `nncf`), or all.
        threads: Intra-op threads with which latencies are compared.
        seed: Draws which inputs fit ranges and which judge.
        json: Print the result as JSON on standard output.
    """
    budget_s, recipes = parse_duration_s(budget), recipes_named(recipe, backend)
    check_output(out)
    with open_session(model) as session:
        inputs = session.inputs
    data = open_calibration(calibration, inputs, images)
    feeds = data.feeds(0)
    graph = prepare(model, feeds, progress=terminal)
    options = SessionOptions(threads=threads)
    meter = LocalMeter([data.feeds(i) for i in range(min(len(data), 8))], options)
    variant = quantize(
        graph, data, task=task or task_of(data), max_loss=max_loss, budget_s=budget_s, seed=seed,
        recipes=recipes, meter=meter, progress=terminal,
    )  # fmt: skip
    written = write_model(variant.graph.model, out)
    if json:
        terminal.json(_document(variant, out))
        return
    _print(variant, out, sum(path.stat().st_size for path in written), graph.weight_bytes)


def _document(variant: QuantizedVariant, out: Path) -> dict[str, object]:
    return {
        "out": str(out),
        "recipe": None if variant.recipe is None else variant.recipe.name,
        "float_nodes": [] if variant.recipe is None else list(variant.recipe.excluded),
        "metric": variant.metric,
        "notes": list(variant.notes),
        "attempts": [
            {
                "recipe": attempt.recipe.name,
                "latency_ratio": attempt.ratio,
                "loss": attempt.loss,
                "outcome": attempt.outcome,
            }
            for attempt in variant.attempts
        ],
        "caveats": [
            {"kind": caveat.kind.value, "evidence": caveat.evidence, "advice": caveat.advice}
            for caveat in variant.caveats
        ],
    }


def _print(variant: QuantizedVariant, out: Path, size_bytes: int, original_bytes: int) -> None:
    if variant.attempts:
        table = Table(box=None, pad_edge=False)
        table.add_column("Recipe")
        table.add_column("Time/fp32", justify="right")
        table.add_column("Loss pts", justify="right")
        table.add_column("Outcome")
        for attempt in variant.attempts:
            table.add_row(
                attempt.recipe.name,
                "-" if attempt.ratio is None else f"{attempt.ratio:.2f}",
                "-" if attempt.loss is None else f"{attempt.loss:.2f}",
                attempt.outcome,
                style="bold green" if attempt.outcome == "chosen" else None,
            )
        terminal.out.print(table)
        terminal.out.print(f"[bright_black]{_legend(variant)}[/]")
    evidence = " ".join(caveat.evidence.lower() for caveat in variant.caveats)
    for note in (one for one in variant.notes if one.lower() not in evidence):
        terminal.out.print(f"- {note}", markup=False)
    for caveat in variant.caveats:
        terminal.out.print(f"Note: {caveat.evidence} {caveat.advice}", markup=False)
    what = "as it was" if variant.recipe is None else "quantized"
    terminal.out.print(
        f"{out}: {what}, {format_bytes(size_bytes)}; the original's weights take "
        f"{format_bytes(original_bytes)}",
        soft_wrap=True,
        markup=False,
    )


def _legend(variant: QuantizedVariant) -> str:
    """What the table's words mean."""
    metric = variant.metric or "quality"
    return (
        "Recipe: format, types of activations/weights, one scale for every channel of a weight, "
        "7-bit weights, products (convolutions, matrix products) alone. Time: below 1 is faster. "
        f"Loss: percentage points of {metric} on held-out inputs, below 0 gained; - not measured, "
        "since it could not win."
    )
