"""A graph as structure: canonical order, concrete shapes, who reads what, what is constant."""

from collections.abc import Iterable, Mapping
from functools import cached_property

import onnx_ir as ir

from tierwise.errors import ModelError
from tierwise.graph.costs import macs
from tierwise.graph.load import name_nodes
from tierwise.graph.tensors import TensorInfo

# Running them twice gives two results, so they are neither constants nor may they be copied.
NONDETERMINISTIC = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
# Initializers of these types are shapes, indices and names rather than parameters.
_NOT_PARAMETERS = frozenset({ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING})


class Graph:
    """A model with concrete shapes; nothing in it changes after construction.

    Names identify: tensors by their name, nodes by theirs (unnamed nodes are given names).

    Attributes:
        model: The ``onnx_ir`` model. Treat as read-only; transformations clone.
        tensors: Every top-level tensor whose shape and NumPy type are known, by name, weights
            included. Sequences, optionals and maps are never in it.
        nodes: Top-level nodes that some output needs, in *canonical order*: topological, and a
            branch is finished before the next one begins.
        data_nodes: The nodes whose results depend on the inputs, in canonical order.
        from_weights: Names of the tensors that are computed from weights alone.
        notes: What had to be assumed to get concrete shapes, in words.
    """

    def __init__(
        self,
        model: ir.Model,
        tensors: Mapping[str, TensorInfo] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        """Analyse ``model``.

        Args:
            model: Has no function calls that matter (see :func:`tierwise.runtime.prepare`).
            tensors: Concrete shapes; where missing, taken from the model's own static shapes.
            notes: See the attribute.

        Raises:
            ModelError: an input or output is not a tensor of known shape, or the graph
                has a cycle.
        """
        name_nodes(model)
        self.model = model
        self.notes = tuple(notes)
        self.tensors: Mapping[str, TensorInfo] = {**static_tensors(model), **(tensors or {})}
        self.nodes = _canonical_order(model.graph)
        self._reads = {node: _reads(node) for node in self.nodes}
        self.from_weights, self.data_nodes = self._separate_weights()
        self._input_values = tuple(
            value for value in model.graph.inputs if value.name not in model.graph.initializers
        )
        self.inputs = tuple(self._tensor(value, "input") for value in self._input_values)
        self.outputs = tuple(self._tensor(value, "output") for value in model.graph.outputs)

    def reads(self, node: ir.Node) -> tuple[ir.Value, ...]:
        """What ``node`` reads, each once, outer tensors captured by its subgraphs included."""
        return self._reads[node]

    def value(self, name: str) -> ir.Value:
        """The tensor called ``name``; raises ``KeyError`` where there is none."""
        return self._values[name]

    def readers(self, name: str) -> tuple[ir.Node, ...]:
        """The nodes that read the tensor, in canonical order."""
        return self._readers.get(name, ())

    @cached_property
    def _readers(self) -> Mapping[str, tuple[ir.Node, ...]]:
        found: dict[str, list[ir.Node]] = {}
        for node in self.nodes:
            for value in self.reads(node):
                found.setdefault(name_of(value), []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def _values(self) -> Mapping[str, ir.Value]:
        values = {name_of(value): value for value in self.model.graph.initializers.values()}
        values |= {name_of(value): value for value in self._input_values}
        for node in self.nodes:
            values |= {name_of(value): value for value in node.outputs if value.name}
        return values

    @cached_property
    def node_macs(self) -> Mapping[str, int]:
        """Multiply-accumulates by node name, in canonical order; see :mod:`.costs`."""
        return {name_of(node): macs(node, self.tensors) for node in self.nodes}

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one inference with the concrete shapes."""
        return sum(self.node_macs.values())

    @cached_property
    def parameters(self) -> int:
        """Number of weights: elements of all initializers but shapes and indices (int64, bool)."""
        return sum(
            value.const_value.size
            for graph in self.model.graphs()
            for value in graph.initializers.values()
            if value.const_value is not None and value.dtype not in _NOT_PARAMETERS
        )

    @cached_property
    def weight_bytes(self) -> int:
        """Size of all initializers in bytes."""
        return sum(
            value.const_value.nbytes
            for graph in self.model.graphs()
            for value in graph.initializers.values()
            if value.const_value is not None
        )

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        imports = self.model.graph.opset_imports
        return imports.get("", imports.get("ai.onnx", 0))

    def _tensor(self, value: ir.Value, what: str) -> TensorInfo:
        info = self.tensors.get(name_of(value))
        if info is None:
            raise ModelError(
                f"The model's {what} '{value.name}' is of type {value.type}, shape {value.shape}: "
                "no tensor of a known shape.",
                hint="Inputs and outputs must be tensors; export without sequences or maps "
                "(for scikit-learn: options={'zipmap': False}).",
                tensor=value.name,
            )
        return info

    def _separate_weights(self) -> tuple[frozenset[str], tuple[ir.Node, ...]]:
        constant = {name_of(value) for value in self.model.graph.initializers.values()}
        data_nodes = []
        for node in self.nodes:
            if node.op_type not in NONDETERMINISTIC and all(
                name_of(value) in constant for value in self.reads(node)
            ):
                constant.update(value.name for value in node.outputs if value.name)
            else:
                data_nodes.append(node)
        return frozenset(constant), tuple(data_nodes)


def name_of(value: ir.Value | ir.Node) -> str:
    """The name, which every tensor and node of a :class:`Graph` has."""
    assert value.name is not None, f"{value} has no name"
    return value.name


def static_tensors(model: ir.Model) -> dict[str, TensorInfo]:
    """Top-level tensors whose shape the model itself states in full, weights included."""
    known = {}
    graph = model.graph
    values = [*graph.inputs, *(out for node in graph for out in node.outputs)]
    for value in values:
        dtype = numpy_dtype(value)
        if value.name and dtype and value.shape is not None and value.shape.is_static():
            known[value.name] = TensorInfo(value.name, value.shape.numpy(), dtype)
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and (dtype := _DTYPES.get(tensor.dtype)):
            known[name_of(value)] = TensorInfo(name_of(value), tuple(tensor.shape.numpy()), dtype)
    return known


_DTYPES = {
    ir.DataType[name.upper()]: name
    for name in (
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
    )
} | {
    ir.DataType.FLOAT: "float32",
    ir.DataType.DOUBLE: "float64",
    ir.DataType.FLOAT16: "float16",
}  # fmt: skip
WIRE_DTYPES = frozenset(_DTYPES.values())
"""Element types that a request can carry: those of NumPy and of the Open Inference Protocol.
Strings, bfloat16, 8-bit floats and 4-bit integers stay inside a segment."""


def numpy_dtype(value: ir.Value) -> str | None:
    """NumPy's name of a tensor's element type; ``None`` where it has none or is no tensor."""
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return None
    return _DTYPES.get(value.dtype) if value.dtype is not None else None


def _reads(node: ir.Node) -> tuple[ir.Value, ...]:
    found: dict[ir.Value, None] = {value: None for value in node.inputs if value is not None}
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            found.update(dict.fromkeys(_captured(attribute.as_graph())))
        elif attribute.type == ir.AttributeType.GRAPHS:
            for graph in attribute.as_graphs():
                found.update(dict.fromkeys(_captured(graph)))
    # An empty name is ONNX's way to leave out an optional input.
    return tuple(value for value in found if value.name)


def _captured(graph: ir.Graph) -> list[ir.Value]:
    """Outer values that a subgraph uses, at any depth, its own outputs included."""
    own: set[ir.Value] = {*graph.inputs, *graph.initializers.values()}
    used: dict[ir.Value, None] = {}
    for node in graph:
        used.update(dict.fromkeys(_reads(node)))
        own.update(node.outputs)
    used.update(dict.fromkeys(graph.outputs))
    return [value for value in used if value not in own]


def _canonical_order(graph: ir.Graph) -> tuple[ir.Node, ...]:
    """Depth-first from the outputs, a node after all it reads; unneeded nodes are left out."""
    order: list[ir.Node] = []
    state: dict[ir.Node, bool] = {}  # False: begun, True: finished
    producers: dict[ir.Node, tuple[ir.Node, ...]] = {}
    for output in graph.outputs:
        stack = [output.producer()]
        while stack:
            node = stack[-1]
            if node is None or state.get(node):
                stack.pop()
                continue
            if node not in producers:
                found = (value.producer() for value in _reads(node))
                producers[node] = tuple(producer for producer in found if producer is not None)
            waiting = [producer for producer in producers[node] if not state.get(producer)]
            if not waiting:
                state[node] = True
                order.append(node)
                stack.pop()
            elif node in state:
                cycle = next((p for p in waiting if p in state), node)
                raise ModelError(
                    f"The model's graph has a cycle through node '{cycle.name}'.",
                    hint="Export the model again.",
                    node=cycle.name,
                )
            else:
                state[node] = False
                # Reversed, so that the branch of the first input is finished first.
                stack.extend(reversed(waiting))
    return tuple(order)
