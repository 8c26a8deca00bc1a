"""What a model is made of, where it can be cut, and which blocks it could skip."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import onnx_ir as ir
from cyclopts import Parameter
from rich.table import Table

from tierwise.cli.terminal import terminal
from tierwise.errors import UserError
from tierwise.graph.analysis import Graph
from tierwise.graph.blocks import ExitCandidate, exit_candidates, runs
from tierwise.graph.costs import UNCOUNTED
from tierwise.graph.cuts import Cut, list_cuts
from tierwise.graph.tensors import TensorInfo
from tierwise.runtime.prepare import prepare
from tierwise.units import format_bytes

# How many cuts the overview shows; --cuts shows all.
_OVERVIEW_CUTS = 8


def command(
    model: Path,
    /,
    *,
    cuts: bool = False,
    exits: bool = False,
    input_: Annotated[list[str] | None, Parameter(name="--input")] = None,
    json: bool = False,
) -> None:
    """Show inputs, outputs, size and work of a model, its valid cuts, and what it could skip.

    A *cut* separates the model into a head and a tail; its id is what `--cut` takes elsewhere.
    An *exit* skips a residual block: readers of its `to` tensor read its `from` tensor instead.

    Args:
        model: An ONNX file.
        cuts: List every valid cut, in the order of the data.
        exits: List every block that could be skipped.
        input_: Sizes where the model leaves them free: `NAME=1x3x480x640`. May be repeated.
        json: Print everything as JSON on standard output.
    """
    graph = prepare(model, shapes=dict(map(_shape_option, input_ or [])), progress=terminal)
    found_cuts, found_exits = list_cuts(graph), exit_candidates(graph)
    if json:
        terminal.json(_document(graph, found_cuts, found_exits))
        return
    if not cuts and not exits:
        _overview(model, graph, found_cuts, found_exits)
    if cuts:
        _print_cuts(graph, found_cuts, "Cuts")
    if exits:
        _print_exits(graph, found_exits)
    for note in graph.notes:
        free = next(t for t in graph.inputs if not _is_static(graph, t))
        choice = shlex.quote(f"{free.name}={_sizes(free.shape)}")
        terminal.say(f"Note: {note} Choose others: --input {choice}")


def _shape_option(text: str) -> tuple[str, tuple[int, ...]]:
    name, separator, sizes = text.rpartition("=")
    parts = sizes.split("x") if sizes else []
    if not separator or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(
            f"--input {text!r} is not NAME=SIZES.",
            hint="Write it like --input image=1x3x480x640.",
            value=text,
        )
    return name, tuple(map(int, parts))


def _document(
    graph: Graph, cuts: tuple[Cut, ...], exits: tuple[ExitCandidate, ...]
) -> dict[str, object]:
    return {
        "inputs": _tensors(graph.inputs),
        "outputs": _tensors(graph.outputs),
        "opset": graph.opset,
        "nodes": len(graph.nodes),
        "parameters": graph.parameters,
        "macs": graph.macs,
        "cuts": [
            {
                "id": cut.id,
                "tensors": _tensors(cut.tensors),
                "wire_bytes": cut.wire_bytes,
                "head_macs": cut.head_macs,
                "tail_macs": cut.tail_macs,
            }
            for cut in cuts
        ],
        "exits": [
            {"from": exit_.from_tensor, "to": exit_.to_tensor, "saved_macs": exit_.saved_macs}
            for exit_ in exits
        ],
    }


def _tensors(tensors: Iterable[TensorInfo]) -> list[dict[str, object]]:
    return [
        {"name": t.name, "shape": list(t.shape), "dtype": t.dtype, "bytes": t.bytes}
        for t in tensors
    ]


def _overview(
    path: Path, graph: Graph, cuts: tuple[Cut, ...], exits: tuple[ExitCandidate, ...]
) -> None:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("model", f"[bold]{path.name}[/], {format_bytes(_stored_bytes(path, graph))}")
    for label, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        for tensor in tensors:
            facts.add_row(label, _label(graph, tensor))
    facts.add_row("opset", str(graph.opset))
    facts.add_row("nodes", f"{len(graph.nodes)} after simplification")
    facts.add_row("parameters", _amount(graph.parameters))
    facts.add_row("work", f"{_amount(graph.macs)} MACs an inference")
    terminal.out.print(facts)
    terminal.out.print()
    if not cuts:
        terminal.out.print("No valid cut: the model runs on one tier only.")
    else:
        single = sum(len(cut.tensors) == 1 for cut in cuts)
        _print_cuts(
            graph,
            _lowest(cuts),
            f"Cuts: {len(cuts)} valid, {single} of one tensor; here, those smaller than any before",
        )
    terminal.out.print()
    if not exits:
        terminal.out.print("No early exits: the model has no residual block that could be skipped.")
        return
    stages = runs(exits)
    together = sum(exit_.saved_macs for exit_ in exits)
    terminal.out.print(
        f"[bold]Early exits[/]: {len(exits)} {_plural('block', len(exits))} can be skipped, in "
        f"{len(stages)} {_plural('run', len(stages))} of {', '.join(str(len(s)) for s in stages)}; "
        f"all together {_share(together, graph)} of the MACs.",
        soft_wrap=False,
    )
    terminal.say("Show all: --cuts, --exits")


def _lowest(cuts: tuple[Cut, ...]) -> tuple[Cut, ...]:
    """Cuts with fewer bytes than any before them, the last few: nothing cheaper is nearer."""
    best: list[Cut] = []
    for cut in cuts:
        if not best or cut.wire_bytes < best[-1].wire_bytes:
            if best and cut.head_macs == best[-1].head_macs:
                best.pop()  # a cheaper one for the same work
            best.append(cut)
    return tuple(best[-_OVERVIEW_CUTS:])


def _print_cuts(graph: Graph, cuts: tuple[Cut, ...], title: str) -> None:
    terminal.out.print(f"[bold]{title}[/]")
    table = Table(box=None, pad_edge=False)
    table.add_column("cut", overflow="fold", style="cyan")
    table.add_column("crosses", overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("head's work", justify="right", no_wrap=True)
    for cut in cuts:
        table.add_row(
            cut.id, _crossing(cut), format_bytes(cut.wire_bytes), _share(cut.head_macs, graph)
        )
    terminal.out.print(table)
    if graph.macs == 0:
        terminal.say(f"Note: {UNCOUNTED}")


def _print_exits(graph: Graph, exits: tuple[ExitCandidate, ...]) -> None:
    terminal.out.print("[bold]Early exits[/]")
    table = Table(box=None, pad_edge=False)
    table.add_column("run", justify="right", no_wrap=True)
    table.add_column("from", overflow="fold", style="cyan")
    table.add_column("to", overflow="fold", style="cyan")
    shapes = {e: _sizes(graph.tensors[e.to_tensor].shape) for e in exits}
    names = max((len(f"{e.from_tensor}{e.to_tensor}{shapes[e]}") for e in exits), default=0)
    # Names are to be copied, so shapes give way where all three would be broken; `--json` has them.
    shaped = names + len("run  saves") + 3 * 2 <= terminal.out.width
    if shaped:
        table.add_column("shape", no_wrap=True)
    table.add_column("saves", justify="right", no_wrap=True)
    for number, run in enumerate(runs(exits), start=1):
        for exit_ in run:
            shape = [shapes[exit_]] if shaped else []
            saves = _share(exit_.saved_macs, graph)
            table.add_row(str(number), exit_.from_tensor, exit_.to_tensor, *shape, saves)
    terminal.out.print(table)
    if not exits:
        terminal.say("The model has no residual block that could be skipped.")


def _crossing(cut: Cut) -> str:
    if len(cut.tensors) == 1:
        (tensor,) = cut.tensors
        return f"{_sizes(tensor.shape)} {tensor.dtype}"
    kinds = sorted({tensor.dtype for tensor in cut.tensors})
    return f"{len(cut.tensors)} tensors, {' and '.join(kinds)}"


def _label(graph: Graph, tensor: TensorInfo) -> str:
    sizes = _sizes(tensor.shape)
    if not _is_static(graph, tensor):
        own = graph.value(tensor.name).shape or ("?" for _ in tensor.shape)
        sizes = "x".join(str(size) if isinstance(size, int) else "?" for size in own)
    return f"{tensor.name}  {sizes} {tensor.dtype}"


def _is_static(graph: Graph, tensor: TensorInfo) -> bool:
    shape = graph.value(tensor.name).shape
    return shape is not None and shape.is_static()


def _stored_bytes(path: Path, graph: Graph) -> int:
    files = {path.resolve()}
    for part in graph.model.graphs():
        for value in part.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                files.add(Path(value.const_value.path).resolve())
    return sum(file.stat().st_size for file in files)


def _sizes(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _share(part: int, graph: Graph) -> str:
    return f"{100 * part / graph.macs:.1f}%" if graph.macs else "-"


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _amount(count: int) -> str:
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return str(count)
