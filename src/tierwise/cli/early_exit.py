"""Skip repeated blocks of a model without training, and make up for what they did."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tierwise.cli.calibration import NO_IMAGE_OPTIONS, ImageOptions, open_calibration
from tierwise.cli.terminal import terminal
from tierwise.disk import check_output
from tierwise.errors import UserError
from tierwise.graph.analysis import Graph
from tierwise.operators.early_exit import FRONT, EarlyExitOptions, early_exit
from tierwise.operators.quantize import LocalMeter
from tierwise.operators.variant import Variant
from tierwise.operators.write import write_model
from tierwise.runtime.materialise import model_bytes
from tierwise.runtime.prepare import prepare
from tierwise.runtime.profile import node_times
from tierwise.runtime.session import SessionOptions, open_session

_TIMED = 8  # inputs that the shortened models are timed with
_LEGEND = (
    "Time/original: below 1 is faster. Divergence: how far the outputs are from the original's "
    "(Kullback-Leibler, in nats, mean over inputs; 0 is the same), by skipping alone and with the "
    "weights around refitted. Top-1 and the like: `tierwise run` judges them."
)


def command(
    model: Path,
    /,
    *,
    calibration: Path,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    images: ImageOptions = NO_IMAGE_OPTIONS,
    save: tuple[float, ...] = FRONT,
    rule: Literal["search", "last-two", "last-four"] = "search",
    compensate: Annotated[bool, Parameter(negative=("--no-compensate",))] = True,
    threads: int = 1,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Skip repeated blocks of a model without training (early exit).

    The blocks are those whose removal changes the output least, found on half of the calibration
    inputs; the weights around them are then refitted in closed form towards what the original
    computes there, and a refit stays only where it helps on the other half. The shortened model
    has the inputs, outputs and operators of the original, only fewer.

    Args:
        model: An ONNX file.
        calibration: A folder of images, an .npz with one array per model input, or a study file,
            whose calibration inputs are used. Labels are not needed.
        out: The ONNX file to write; of a front, `OUT-10%.onnx` and so on.
        images: For a folder of images.
        save: Share of the model's latency to save, by its kernels' times on this machine; give it
            several times for a front.
        rule: How to choose: by search, or by the study's hand rule, for comparison.
        compensate: Whether to make up for the skipped blocks in the weights around them.
        threads: Threads with which the model is timed.
        seed: Draws the rows that the refits see.
        json: Print the result as JSON on standard output.
    """
    options = EarlyExitOptions(save=save, rule=rule, compensate=compensate, seed=seed)
    check_output(out)
    with open_session(model) as session:
        inputs = session.inputs
    data = open_calibration(calibration, inputs, images)
    feeds = [data.feeds(index) for index in range(len(data))]
    graph = prepare(model, feeds[0], progress=terminal)
    run = SessionOptions(threads=threads)
    times_s = node_times(graph, feeds[0], run)
    variants = early_exit(graph, feeds, options, node_cost=times_s, session=run, progress=terminal)
    if not variants:
        raise UserError(
            f"'{model}' has no repeated block that can be skipped: none whose input and output "
            "have the same shape.",
            hint="`tierwise inspect MODEL --exits` lists the blocks of a model.",
        )
    written = {_path(out, variant): variant for variant in variants}
    for path, variant in written.items():
        write_model(variant.graph.model, path)
    meter, whole = LocalMeter(feeds[:_TIMED], run), model_bytes(graph.model)
    ratios = {path: meter.ratio(path.read_bytes(), whole) for path in written}
    if json:
        terminal.json([_document(graph, one, path, ratios[path]) for path, one in written.items()])
        return
    _print(graph, written, ratios)


def _path(out: Path, variant: Variant) -> Path:
    suffix = variant.name.removeprefix("E")
    return out.with_name(f"{out.stem}{suffix}{out.suffix}")


def _document(graph: Graph, variant: Variant, path: Path, ratio: float) -> dict[str, object]:
    return {
        "out": str(path),
        "latency_ratio": ratio,
        "macs": variant.graph.macs,
        "saved_macs": 1 - variant.graph.macs / graph.macs,
        "notes": list(variant.notes),
        "caveats": [
            {"kind": caveat.kind.value, "evidence": caveat.evidence, "advice": caveat.advice}
            for caveat in variant.caveats
        ],
    }


def _print(graph: Graph, written: dict[Path, Variant], ratios: dict[Path, float]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("File", overflow="fold")
    for title in ("MACs saved", "Time/original"):
        table.add_column(title, justify="right", no_wrap=True)
    for path, variant in written.items():
        saved = f"{1 - variant.graph.macs / graph.macs:.1%}"
        table.add_row(str(path), saved, f"{ratios[path]:.2f}")
    terminal.out.print(table)
    for path, variant in written.items():
        terminal.out.print()
        terminal.out.print(Text(path.name, "bold"))
        for note in variant.notes:
            terminal.out.print(Padding(Text(note), (0, 0, 0, 2)))
        for caveat in variant.caveats:
            terminal.out.print(f"  Note: {caveat.evidence} {caveat.advice}", markup=False)
    terminal.out.print()
    terminal.out.print(_LEGEND, style="bright_black")
