"""Residual blocks by structure: where a graph can be told to skip a part of itself.

A block is ``to = f(from) + from``, an activation or normalisation behind the sum included: the
branch starts at ``from`` alone (weights and side inputs such as an attention mask aside), nothing
outside reads what is inside, and ``to`` has the shape and type of ``from``. So ``to``'s readers can
read ``from`` instead, and the whole block is gone. Names decide nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import onnx_ir as ir

from tierwise.errors import ExitError
from tierwise.graph.analysis import Graph, name_of

_SUMS = frozenset({"Add", "Sum"})
_NORMALISATION = ("Normalization", "Reduce")
# A decomposed layer normalisation is nine nodes; an activation at most four.
_LONGEST_CLOSING = 12


@dataclass(frozen=True)
class ExitCandidate:
    """A part that can be skipped: readers of ``to_tensor`` read ``from_tensor`` instead.

    Attributes:
        from_tensor: Where the exit leaves.
        to_tensor: Where it arrives; of the same shape and type.
        saved_macs: Multiply-accumulates of what is skipped.
    """

    from_tensor: str
    to_tensor: str
    saved_macs: int


def exit_candidates(graph: Graph) -> tuple[ExitCandidate, ...]:
    """Every residual block of ``graph``, in canonical order; empty if it has none.

    Blocks that follow each other (one's ``to`` is the next one's ``from``) compose: see
    :func:`runs`, :func:`joined`. O(nodes) for graphs whose blocks are short.
    """
    position = {node: index for index, node in enumerate(graph.nodes)}
    sums = {node: operands for node in graph.data_nodes if (operands := _operands(graph, node))}
    sum_tensors = {name_of(node.outputs[0]) for node in sums}
    found = []
    for node, operands in sums.items():
        for start, branch in (operands, operands[::-1]):
            inside = _branch(graph, start, branch, position)
            if inside is None or not _closed(graph, inside, node):
                continue
            end, closing = _block_end(graph, node, start, sum_tensors, position)
            nodes = {*inside, node, *closing}
            saved_macs = sum(graph.node_macs[name_of(inner)] for inner in nodes)
            if saved_macs > 0:  # else it is a formula, such as a decomposed GELU
                found.append(ExitCandidate(name_of(start), end, saved_macs))
                break
    return tuple(found)


def runs(candidates: Iterable[ExitCandidate]) -> tuple[tuple[ExitCandidate, ...], ...]:
    """The candidates grouped into maximal runs of consecutive blocks: the stages of a network."""
    by_start = {candidate.from_tensor: candidate for candidate in candidates}
    ends = {candidate.to_tensor for candidate in by_start.values()}
    stages = []
    for start, candidate in by_start.items():
        if start in ends:
            continue
        run = [candidate]
        while (following := by_start.get(run[-1].to_tensor)) is not None:
            run.append(following)
        stages.append(tuple(run))
    return tuple(stages)


def joined(run: Iterable[ExitCandidate]) -> ExitCandidate:
    """Consecutive blocks as one exit; ``ExitError`` if they don't follow each other."""
    blocks = tuple(run)
    for before, after in pairwise(blocks):
        if before.to_tensor != after.from_tensor:
            raise ExitError(
                f"The block that ends in '{before.to_tensor}' is not followed by the one that "
                f"starts at '{after.from_tensor}'.",
                hint="Join consecutive blocks only.",
            )
    return ExitCandidate(
        blocks[0].from_tensor, blocks[-1].to_tensor, sum(block.saved_macs for block in blocks)
    )


def find_exit(graph: Graph, from_tensor: str, to_tensor: str) -> ExitCandidate:
    """The exit between two tensors by name, residual or not.

    Raises:
        ExitError: a tensor is unknown (``.tensor``), their shapes or types differ, or ``to`` is
            not computed from ``from``.
    """
    hint = "Run `tierwise inspect MODEL --exits` to list the valid ones."
    for name in (from_tensor, to_tensor):
        if name not in graph.tensors or name in graph.from_weights:
            raise ExitError(
                f"There is no tensor '{name}' that an exit could use.", hint=hint, tensor=name
            )
    start, end = graph.tensors[from_tensor], graph.tensors[to_tensor]
    if (start.shape, start.dtype) != (end.shape, end.dtype):
        raise ExitError(
            f"An exit from '{from_tensor}' to '{to_tensor}' does not fit: {start.dtype} of shape "
            f"{_sizes(start.shape)} cannot stand for {end.dtype} of shape {_sizes(end.shape)}.",
            hint=hint,
            tensor=to_tensor,
        )
    if not _computed_from(graph, to_tensor, from_tensor):
        raise ExitError(
            f"'{to_tensor}' is not computed from '{from_tensor}', so there is nothing to skip.",
            hint=hint,
            tensor=to_tensor,
        )
    kept = _needed(graph, {to_tensor: from_tensor})
    count = graph.node_macs
    saved = sum(count[name_of(node)] for node in graph.nodes if node not in kept)
    return ExitCandidate(from_tensor, to_tensor, saved)


def _operands(graph: Graph, node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The two addends, if ``node`` is the sum of two data tensors of its own shape and type."""
    operands = graph.reads(node)
    if node.op_type not in _SUMS or len(operands) != 2:
        return None
    infos = [graph.tensors.get(name_of(value)) for value in (*operands, node.outputs[0])]
    if any(name_of(value) in graph.from_weights for value in operands):
        return None
    if infos[0] is None or infos[2] is None or infos[1] is None:
        return None
    same = {(info.shape, info.dtype) for info in infos if info is not None}
    if len(same) != 1 or not infos[0].dtype.startswith("float"):
        return None
    return operands[0], operands[1]


def _branch(
    graph: Graph, start: ir.Value, end: ir.Value, position: dict[ir.Node, int]
) -> set[ir.Node] | None:
    """The nodes that lie on a way from ``start`` to ``end``; ``None`` if there is no way."""
    producer = start.producer()
    first = -1 if producer is None else position[producer]
    behind = {start}
    between: set[ir.Node] = set()
    waiting = [end]
    seen: set[ir.Node] = set()
    while waiting:
        node = waiting.pop().producer()
        # What comes before the start in canonical order cannot depend on it.
        if node is None or node in seen or position[node] <= first:
            continue
        seen.add(node)
        waiting.extend(value for value in graph.reads(node) if value is not start)
    for node in sorted(seen, key=position.__getitem__):
        if behind.intersection(graph.reads(node)):
            between.add(node)
            behind.update(node.outputs)
    return between if end in behind and between else None


def _closed(graph: Graph, inside: set[ir.Node], end: ir.Node) -> bool:
    """Whether only the block itself reads what is inside of it."""
    allowed = {*inside, end}
    outputs = {tensor.name for tensor in graph.outputs}
    return all(
        value.name not in outputs and allowed.issuperset(graph.readers(name_of(value)))
        for node in inside
        for value in node.outputs
        if value.name
    )


def _block_end(
    graph: Graph, node: ir.Node, start: ir.Value, sums: set[str], position: dict[ir.Node, int]
) -> tuple[str, tuple[ir.Node, ...]]:
    """The block's last tensor, and the nodes behind the sum that belong to the block.

    Block outputs must be alike, or skipping would feed a raw sum where an activated or
    normalised one is expected: after a raw sum (pre-activation) the block ends in its raw sum;
    otherwise an activation belongs to it, and a normalisation does if ``start`` is normalised by
    the same operator (post-norm transformers).
    """
    total = name_of(node.outputs[0])
    if name_of(start) in sums:
        return total, ()
    closing = _closing(graph, node, position)
    if not closing:
        return total, ()
    producer = start.producer()
    normalises = any(kind in inner.op_type for inner in closing for kind in _NORMALISATION)
    if normalises and (producer is None or producer.op_type != closing[-1].op_type):
        return total, ()
    return name_of(closing[-1].outputs[0]), closing


def _closing(graph: Graph, node: ir.Node, position: dict[ir.Node, int]) -> tuple[ir.Node, ...]:
    """The first nodes behind a sum that lead from it alone to one tensor of its shape."""
    total = node.outputs[0]
    outputs = {tensor.name for tensor in graph.outputs}
    shape = graph.tensors[name_of(total)].shape
    made: set[ir.Value] = {total}
    taken: list[ir.Node] = []
    while len(taken) < _LONGEST_CLOSING:
        inside = set(taken)
        waiting = {
            reader
            for value in made
            for reader in graph.readers(name_of(value))
            if reader not in inside
        }
        if not waiting:
            return ()
        following = min(waiting, key=position.__getitem__)
        reads = [v for v in graph.reads(following) if name_of(v) not in graph.from_weights]
        if not made.issuperset(reads) or graph.node_macs[name_of(following)] > 0:
            return ()
        if any(name_of(value) in outputs for value in made):
            return ()
        taken.append(following)
        made.update(value for value in following.outputs if value.name)
        inside.add(following)
        last = name_of(following.outputs[0])
        open_values = [
            value for value in made if not inside.issuperset(graph.readers(name_of(value)))
        ] + [value for value in following.outputs if value.name in outputs]
        info = graph.tensors.get(last)
        if {name_of(v) for v in open_values} == {last} and info is not None and info.shape == shape:
            return tuple(taken)
    return ()


def _computed_from(graph: Graph, target: str, source: str) -> bool:
    waiting, seen = [graph.value(target)], set()
    while waiting:
        value = waiting.pop()
        if value.name == source:
            return value.name != target
        node = value.producer()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(graph.reads(node))
    return False


def _needed(graph: Graph, instead: dict[str, str]) -> set[ir.Node]:
    """The nodes that the outputs still need when some tensors are read instead of others."""
    found: set[ir.Node] = set()
    waiting = [tensor.name for tensor in graph.outputs]
    while waiting:
        name = waiting.pop()
        node = graph.value(instead.get(name, name)).producer()
        if node is not None and node not in found:
            found.add(node)
            waiting.extend(name_of(value) for value in graph.reads(node))
    return found


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
