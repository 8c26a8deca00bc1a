"""What `tierwise partition` says of the segments that it wrote."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from tierwise.cli.terminal import terminal
from tierwise.operators.choose_encodings import EncodingTrial
from tierwise.operators.partition import Partition
from tierwise.recommend.phrases import under
from tierwise.study.best_partition import BestPartition
from tierwise.tiers.topology import NetworkCondition
from tierwise.units import format_bytes, format_duration

# The minimum cut works on integers; a rounding below the figure's digits says nothing.
_WORTH_SAYING = 1e-3
_LEGEND = (
    "Crossing: encoding, sending and decoding. Error: of the tensor, relative to its size. Loss: "
    "percentage points of quality, - not measured, since another crosses faster."
)


def how_good(found: BestPartition, condition: NetworkCondition) -> str:
    """The predicted latency, and whether anything can be faster."""
    at = f" {under(condition)}" if condition.id else ""
    predicted = f"Predicted latency of a request{at}: {format_duration(found.latency_s)}; "
    if not found.proven_optimal:
        return predicted + (
            f"not proven optimal: no placement is predicted below {format_duration(found.bound_s)}."
        )
    rounded = ""
    if found.resolution_s > _WORTH_SAYING * found.latency_s:
        rounded = f", rounded to {format_duration(found.resolution_s)}"
    return f"{predicted}proven optimal for the times measured here{rounded}."


def trial_as_json(trial: EncodingTrial) -> dict[str, object]:
    """One encoding that was tried at a boundary."""
    return {
        "boundary": trial.boundary,
        "tensor": trial.tensor,
        "encoding": str(trial.cost.encoding),
        "wire_bytes": trial.cost.wire_bytes,
        "encode_s": trial.cost.encode_s,
        "decode_s": trial.cost.decode_s,
        "crossing_s": trial.crossing_s,
        "error": trial.cost.error,
        "loss": trial.loss,
        "chosen": trial.chosen,
    }


def print_partition(
    parts: Partition, trials: Sequence[EncodingTrial], path: Path, tiers: Sequence[str] = ()
) -> None:
    """A row a segment, the encodings that were tried, and where the manifest is."""
    table = Table(box=None, pad_edge=False)
    table.add_column("Segment")
    if tiers:
        table.add_column("Tier")
    table.add_column("MACs", justify="right")
    table.add_column("Gives")
    total = max(1, parts.graph.macs)
    for index, segment in enumerate(parts.segments):
        crossing = parts.boundaries[index].encodings if index < len(parts.boundaries) else {}
        given = "\n".join(
            f"{info.name} {info.dtype} {'x'.join(map(str, info.shape))} "
            f"({format_bytes(info.bytes)})"
            + (f" as {crossing[info.name].name}" if tiers and info.name in crossing else "")
            for info in segment.outputs
        )
        where = [tiers[index]] if tiers else []
        table.add_row(f"segment-{index}.onnx", *where, f"{segment.macs / total:.1%}", given)
    terminal.out.print(table)
    for boundary, tensor in dict.fromkeys((one.boundary, one.tensor) for one in trials):
        tried = [one for one in trials if (one.boundary, one.tensor) == (boundary, tensor)]
        terminal.out.print()
        terminal.out.print(Text(f"{tensor} behind segment-{boundary}.onnx crosses as", "bold"))
        terminal.out.print(_trials_table(tried))
    if trials:
        terminal.out.print(_LEGEND, style="bright_black")
        terminal.out.print()
    terminal.out.print(str(path), soft_wrap=True, markup=False)


def _trials_table(trials: Sequence[EncodingTrial]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("Encoding")
    for column in ("Sent", "Encode", "Decode", "Crossing", "Error", "Loss pts"):
        table.add_column(column, justify="right", no_wrap=True)
    for trial in trials:
        cost = trial.cost
        table.add_row(
            cost.encoding.name,
            format_bytes(cost.wire_bytes),
            format_duration(cost.encode_s),
            format_duration(cost.decode_s),
            format_duration(trial.crossing_s),
            "0" if cost.encoding.lossless else f"{cost.error:.1%}",
            "-" if trial.loss is None else f"{trial.loss:.2f}",
            style="bold green" if trial.chosen else None,
        )
    return table
