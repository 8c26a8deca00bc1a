"""The cuts of a graph: which sets of tensors separate it into a head and a tail.

One cut after every node of the canonical order, so at most one a node, duplicates merged. What a
cut holds is everything the tail needs that depends on the inputs: intermediate tensors, inputs
that only the tail reads, and outputs that the head produced already (they travel on, so that the
last segment gives all of them). Tensors computed from weights alone never cross.

In a quantized graph the cut goes right behind ``QuantizeLinear``, so that 8-bit integers cross:
a ``QuantizeLinear`` that is a crossing tensor's only reader moves into the head, and a
``DequantizeLinear`` whose result would cross moves into the tail (if the head reads it too, both
sides compute it, which costs next to nothing and gives the same bits).
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import onnx_ir as ir

from tierwise.errors import CutError
from tierwise.graph.analysis import NONDETERMINISTIC, WIRE_DTYPES, Graph, name_of
from tierwise.graph.closure import closure
from tierwise.graph.tensors import TensorInfo

_QUANTIZE = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
# heuristic: the end of a nested module name tells most; longer ids fold in an 80-column table.
_ID_LENGTH = 40
_LIST = "Run `tierwise inspect MODEL --cuts` to list the valid cuts."


@dataclass(frozen=True)
class Cut:
    """A set of tensors that separates a graph into a head and a tail.

    Attributes:
        id: Unique in its graph, readable, safe in file names and URLs.
        tensors: What crosses, in the order in which it is produced (what was moved to integers
            last); the last one gives the cut its name.
        wire_bytes: Size of all of them, for one request, unencoded.
        head_macs: Multiply-accumulates before the cut.
        tail_macs: Multiply-accumulates behind it.
        behind: Name of the last node of the head in canonical order; ``""`` for a cut that is not
            listed.
    """

    id: str
    tensors: tuple[TensorInfo, ...]
    wire_bytes: int
    head_macs: int
    tail_macs: int
    behind: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the crossing tensors."""
        return tuple(tensor.name for tensor in self.tensors)


def list_cuts(graph: Graph) -> tuple[Cut, ...]:
    """All cuts of ``graph`` in canonical order, heads growing; empty if there is no place to cut.

    Left out are places where a sequence, an optional, a string or a type that no request carries
    would cross. O(nodes x width of the graph).
    """
    cuts: list[Cut] = []
    seen: set[frozenset[str]] = set()
    ids: set[str] = set()
    done = list(accumulate(graph.node_macs[name_of(node)] for node in graph.data_nodes))
    for position, crossing in enumerate(_crossings(graph)):
        names = frozenset(crossing)
        if names in seen or not _crosses(graph, names):
            continue
        seen.add(names)
        tensors = tuple(graph.tensors[name] for name in crossing)
        cut_id = _cut_id(crossing, ids)
        ids.add(cut_id.casefold())
        # Nodes that compute from weights alone run on both sides or either; none of them counts.
        cuts.append(
            Cut(
                id=cut_id,
                tensors=tensors,
                wire_bytes=sum(tensor.bytes for tensor in tensors),
                head_macs=done[position],
                tail_macs=done[-1] - done[position],
                behind=name_of(graph.data_nodes[position]),
            )
        )
    return tuple(cuts)


def _crosses(graph: Graph, names: frozenset[str]) -> bool:
    """Whether these tensors can be sent, with something to run on both sides of them."""
    inputs = {tensor.name for tensor in graph.inputs}
    outputs = {tensor.name for tensor in graph.outputs} - graph.from_weights
    return (
        not names <= inputs
        and not outputs <= names
        and all(
            name in graph.tensors and graph.tensors[name].dtype in WIRE_DTYPES for name in names
        )
    )


def _crossings(graph: Graph) -> Iterator[tuple[str, ...]]:
    """For each data node in order, the names of what crosses right behind it."""
    outputs = {tensor.name for tensor in graph.outputs}
    waiting = {name: set(graph.readers(name)) for name in _data_tensors(graph)}
    active = {
        tensor.name: None
        for tensor in graph.inputs
        if waiting[tensor.name] or tensor.name in outputs
    }
    for node in graph.data_nodes:
        for value in graph.reads(node):
            name = name_of(value)
            if name in waiting:
                waiting[name].discard(node)
                if not waiting[name] and name not in outputs:
                    active.pop(name, None)
        for value in node.outputs:
            if value.name and (waiting[value.name] or value.name in outputs):
                active[value.name] = None
        yield _behind_quantize(graph, tuple(active), waiting, outputs)


def _data_tensors(graph: Graph) -> Iterator[str]:
    yield from (tensor.name for tensor in graph.inputs)
    for node in graph.data_nodes:
        yield from (value.name for value in node.outputs if value.name)


def _behind_quantize(
    graph: Graph, crossing: tuple[str, ...], waiting: dict[str, set[ir.Node]], outputs: set[str]
) -> tuple[str, ...]:
    """The same separation, moved to where integers cross; in order, without repetition."""
    moved: dict[str, None] = {}
    for name in crossing:
        replaced: tuple[str, ...] = (name,)
        readers = waiting[name]
        if name not in outputs and readers and all(_quantizes(graph, r, name) for r in readers):
            results = tuple(
                value.name
                for node in graph.readers(name)
                if node in readers
                for value in node.outputs
                if value.name
            )
            if _total_bytes(graph, results) < _total_bytes(graph, (name,)):
                replaced = results
        elif (source := _dequantized_from(graph, name)) is not None and _total_bytes(
            graph, (source,)
        ) < _total_bytes(graph, (name,)):
            replaced = (source,)
        # A later mention wins: what was moved is what the cut is named after.
        for tensor in replaced:
            moved.pop(tensor, None)
            moved[tensor] = None
    return tuple(moved)


def _quantizes(graph: Graph, node: ir.Node, name: str) -> bool:
    """Whether ``node`` does nothing but turn the tensor into integers, with constant scales."""
    data, *scales = graph.reads(node)
    return (
        node.op_type in _QUANTIZE
        and data.name == name
        and all(name_of(scale) in graph.from_weights for scale in scales)
    )


def _dequantized_from(graph: Graph, name: str) -> str | None:
    """The integer tensor that ``name`` is the dequantized form of, if its scales are constant."""
    producer = graph.value(name).producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    data, *scales = graph.reads(producer)
    if all(name_of(scale) in graph.from_weights for scale in scales):
        return data.name
    return None


def _total_bytes(graph: Graph, names: Iterable[str]) -> float:
    """Bytes of all of them; infinite where one cannot cross at all."""
    infos = [graph.tensors.get(name) for name in names]
    return sum(float("inf") if info is None else info.bytes for info in infos)


def _cut_id(crossing: tuple[str, ...], taken: set[str]) -> str:
    """A name for a cut: its last tensor's, in letters, digits, ``.``, ``_`` and ``-`` only.

    A cut of several tensors says how many (``relu_14-x2``), so that a tensor's bare name never
    means more than that tensor.
    """
    tensor = crossing[-1]
    # A node's first result is named after the node: "/layer3/layer3.16/relu_1/Relu_output_0" by
    # torch, "block/Add:0" by TensorFlow.
    base, in_8_bits = re.subn(r"_QuantizeLinear_Output$", "", tensor)
    base = re.sub(r"(_output_0|:0)$", "", base)
    base = re.sub(r"[^A-Za-z0-9._-]+", ".", base).strip(".-_") or "cut"
    base = _end_of(base) + (".quantized" if in_8_bits else "")
    if not base[0].isalpha():
        base = f"t{base}"  # older exporters name tensors "385"; 0.5 must stay a share of the work
    if len(crossing) > 1:
        base = f"{base}-x{len(crossing)}"
    name, count = base, 1
    while name.casefold() in taken:
        count += 1
        name = f"{base}.{count}"
    return name


def _end_of(name: str) -> str:
    """The last ``_ID_LENGTH`` letters, from the first whole word on where there is one."""
    end = name[-_ID_LENGTH:]
    if len(end) < len(name) and name[-_ID_LENGTH - 1] not in ".-_":
        end = re.sub(r"^.*?[._-]+(?=[A-Za-z])", "", end)
    return end.lstrip(".-_")


def find_cut(graph: Graph, spec: str | float) -> Cut:
    """The cut that ``spec`` names.

    Args:
        graph: Where to cut.
        spec: The id of a listed cut; the name of a tensor, or several joined by commas, that
            together separate the graph; or a share of the MACs between 0 and 1 that the head
            shall have, such as ``0.5`` (the nearest cut; of equally near ones the one with the
            fewest bytes).

    Raises:
        CutError: no such cut, or tensors that leave others behind (``.left_behind``).
    """
    cuts = list_cuts(graph)
    text = str(spec).strip()
    by_id = {cut.id: cut for cut in cuts}
    if text in by_id:
        return by_id[text]
    share = _share(text)
    if share is not None:
        return _at_share(cuts, share)
    names = (text,) if text in graph.tensors else tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in graph.tensors:
            known = [*by_id, *_data_tensors(graph)]
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            meant = f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
            raise CutError(
                f"There is no cut or tensor '{name}' in the model.{meant}",
                hint="Run `tierwise inspect MODEL --cuts` to list the valid cuts.",
                cut=text,
            )
    listed = {frozenset(cut.names): cut for cut in cuts}
    return listed.get(frozenset(names)) or cut_at(graph, names)


def _share(text: str) -> float | None:
    """The share of MACs that ``text`` asks for; ``None`` if it is no number."""
    try:
        share = float(text)
    except ValueError:
        return None
    if text.isdigit():
        return None  # a tensor name of an older exporter
    if not 0 < share < 1:
        raise CutError(
            f"{text} is no share of the model's work.",
            hint="Give the head's share of the MACs, between 0 and 1, such as 0.5.",
            cut=text,
        )
    return share


def _at_share(cuts: tuple[Cut, ...], share: float) -> Cut:
    if not cuts:
        raise CutError(
            "The model cannot be cut anywhere: it has one node that does the work, or sequences "
            "or strings would cross.",
            hint="Run it on one tier.",
        )
    total = cuts[0].head_macs + cuts[0].tail_macs
    return min(
        cuts,
        key=lambda cut: (abs(cut.head_macs - share * total), cut.wire_bytes, len(cut.tensors)),
    )


def cut_at(graph: Graph, names: Iterable[str]) -> Cut:
    """The cut made of exactly these tensors.

    Raises:
        CutError: they do not separate the graph (``.left_behind``: what would have to be added),
            one is never read behind the cut, cannot be sent, or nothing is left on one side.
    """
    wanted = tuple(dict.fromkeys(names))
    _check_tensors(graph, wanted)
    head, tail = _check_separates(graph, wanted)
    data = set(graph.data_nodes)
    order = {name: index for index, name in enumerate(_data_tensors(graph))}
    tensors = tuple(graph.tensors[name] for name in sorted(wanted, key=order.__getitem__))
    count = graph.node_macs
    return Cut(
        id=_cut_id(
            tuple(tensor.name for tensor in tensors),
            {cut.id.casefold() for cut in list_cuts(graph)},
        ),
        tensors=tensors,
        wire_bytes=sum(tensor.bytes for tensor in tensors),
        head_macs=sum(count[name_of(node)] for node in head & data),
        tail_macs=sum(count[name_of(node)] for node in tail & data),
    )


def _label(wanted: Sequence[str]) -> str:
    return "Cut '" + ",".join(wanted) + "'"


def _check_tensors(graph: Graph, wanted: Sequence[str]) -> None:
    """Raise :class:`CutError` for a tensor that is not there or that no request can carry."""
    label = _label(wanted)
    known = set(_data_tensors(graph))
    for name in wanted:
        if name not in known:
            what = "is computed from weights alone" if name in graph.from_weights else "is unknown"
            raise CutError(f"{label}: tensor '{name}' {what}.", hint=_LIST, cut=",".join(wanted))
        if name not in graph.tensors or graph.tensors[name].dtype not in WIRE_DTYPES:
            raise CutError(
                f"{label}: tensor '{name}' is of type {graph.value(name).type}, which no request "
                "can carry.",
                hint=_LIST,
                tensor=name,
            )


def _check_separates(graph: Graph, wanted: Sequence[str]) -> tuple[set[ir.Node], set[ir.Node]]:
    """The nodes before and behind the cut; :class:`CutError` where these tensors are none."""
    label, stop = _label(wanted), frozenset(wanted)
    head = closure(graph, wanted, frozenset())
    tail = closure(graph, (tensor.name for tensor in graph.outputs), stop)
    missing = _left_behind(graph, tail, head, stop)
    if missing:
        left = ", ".join(f"'{name}'" for name in missing)
        it, is_it = ("it", "it is") if len(missing) == 1 else ("them", "they are")
        raise CutError(
            f"{label} leaves {left} behind: the tail reads {it}, but {is_it} not part of the cut.",
            hint=f"Add {it}, {_superset(graph, stop)}or run `tierwise inspect MODEL --cuts` to "
            "list the valid cuts.",
            cut=",".join(wanted),
            left_behind=missing,
        )
    needed = {name_of(v) for node in tail for v in graph.reads(node)}
    needed |= {tensor.name for tensor in graph.outputs}
    if unread := [name for name in wanted if name not in needed]:
        raise CutError(
            f"{label}: nothing behind the cut reads '{unread[0]}'.",
            hint="Leave it out, or " + _LIST[0].lower() + _LIST[1:],
            tensor=unread[0],
        )
    data = set(graph.data_nodes)
    if not head & data or not tail & data:
        side = "before" if not head & data else "behind"
        raise CutError(
            f"{label} leaves nothing to run {side} it.", hint=_LIST, cut=",".join(wanted)
        )
    if twice := [n for n in graph.nodes if n in head & tail and n.op_type in NONDETERMINISTIC]:
        raise CutError(
            f"{label} would run the random node '{twice[0].name}' on both sides.",
            hint=_LIST,
            node=twice[0].name,
        )
    return head, tail


def _superset(graph: Graph, names: frozenset[str]) -> str:
    """A listed cut that holds all of these, as part of a hint; empty where there is none."""
    holding = [cut for cut in list_cuts(graph) if names < set(cut.names)]
    if not holding:
        return ""
    return f"use cut '{min(holding, key=lambda cut: len(cut.tensors)).id}' which has all, "


def _left_behind(
    graph: Graph, tail: set[ir.Node], head: set[ir.Node], cut: frozenset[str]
) -> tuple[str, ...]:
    """What would have to join the cut; empty if it separates. In canonical order."""
    inputs = {tensor.name for tensor in graph.inputs}
    outputs = {tensor.name for tensor in graph.outputs}
    reached = {name_of(value) for node in tail for value in graph.reads(node)} | outputs
    if not (reached & inputs) - cut:
        return ()
    beyond = tail - head
    read = {name_of(value) for node in beyond for value in graph.reads(node)} | outputs
    in_head = {value.name for node in head for value in node.outputs} | inputs
    return tuple(
        name
        for name in _data_tensors(graph)
        if name in read and name in in_head and name not in cut
    )
