"""Read an ONNX file, or say exactly why it cannot be used."""

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from tierwise.errors import ModelError

# What ONNX Runtime executes without a custom library: the standard's own domains and its own
# contrib operators, which quantized models contain. Everything else needs a shared library that
# a tier would not have.
KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


def load_model(path: str | Path) -> ir.Model:
    """The model in the file ``path``, checked, with every node named.

    External data stays on disk (memory-mapped when read), so models over 2 GiB load at once.

    Raises:
        ModelError: the file is missing, isn't ONNX, uses operators that ONNX Runtime doesn't
            have (``.operator``, ``.node``), or keeps external data outside its own folder
            or not at all (``.tensor``).
    """
    path = Path(path)
    model = _read(path)
    check_operators(model, str(path))
    _check_external_data(model, path)
    _check_values(model, path)
    name_nodes(model)
    return model


def _read(path: Path) -> ir.Model:
    if not path.exists():
        raise ModelError(
            f"There is no file '{path}'.", hint="Give the path of an ONNX file.", path=path
        )
    if path.is_dir():
        raise ModelError(
            f"'{path}' is a folder.", hint="Give the path of the .onnx file in it.", path=path
        )
    not_onnx = "Export the model as ONNX first (for PyTorch: torch.onnx.export), then try again."
    if path.stat().st_size == 0:
        raise ModelError(f"'{path}' is empty.", hint=not_onnx, path=path)
    try:
        # The suffix decides nothing: a renamed .pb is as good as a .onnx.
        model = ir.load(path, format="protobuf")
    except DecodeError as exc:
        raise ModelError(
            f"'{path}' is not an ONNX file, or was cut short.", hint=not_onnx, path=path
        ) from exc
    except (ValueError, TypeError, KeyError, RuntimeError, onnx.checker.ValidationError) as exc:
        # Protobuf reads almost any bytes; what then fails is the graph they seem to hold.
        _check_types(path)
        raise ModelError(
            f"'{path}' is not a valid ONNX file: {exc}", hint=not_onnx, path=path
        ) from exc
    if not model.graph.outputs or not len(model.graph):
        raise ModelError(
            f"'{path}' is not an ONNX model: it holds no graph with nodes and outputs.",
            hint=not_onnx,
            path=path,
        )
    if all(value.name in model.graph.initializers for value in model.graph.inputs):
        raise ModelError(
            f"'{path}' has no input: it answers the same every time.",
            hint="Export it with the input as an argument, not as a constant.",
            path=path,
        )
    return model


def _check_types(path: Path) -> None:
    """Raise :class:`ModelError` for an input or output that is no tensor, such as a map."""
    graph = onnx.load(path, load_external_data=False).graph
    for value in (*graph.input, *graph.output):
        kind = value.type.WhichOneof("value")
        if kind not in {"tensor_type", None}:
            raise ModelError(
                f"'{value.name}' of '{path}' is a {kind.removesuffix('_type')}; only tensors can "
                "be inputs and outputs.",
                hint="Export without sequences and maps (scikit-learn: options={'zipmap': False}).",
                tensor=value.name,
            )


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of the model, those of subgraphs included; functions' bodies are not."""
    return iter(ir.traversal.RecursiveGraphIterator(model.graph))


def check_operators(model: ir.Model, source: str = "the model") -> None:
    """Raise :class:`ModelError` for the first operator that ONNX Runtime cannot execute."""
    for node in all_nodes(model):
        if (node.domain, node.op_type, node.overload) in model.functions:
            continue
        label = f"node '{node.name or node.outputs[0].name}'"
        if node.domain not in KNOWN_DOMAINS:
            raise ModelError(
                f"{source} needs the custom operator '{node.domain}::{node.op_type}' ({label}), "
                "which no tier can run: only operators of ONNX and ONNX Runtime are supported.",
                hint="Export it as standard ONNX operators or as a model-local function.",
                operator=f"{node.domain}::{node.op_type}",
                node=node.name,
            )
        if node.domain in {"", "ai.onnx"} and not onnx.defs.has(node.op_type):
            raise ModelError(
                f"{source} uses '{node.op_type}' ({label}), which is no operator of ONNX "
                f"up to opset {onnx.defs.onnx_opset_version()}.",
                hint="Export it as standard ONNX operators or as a model-local function.",
                operator=node.op_type,
                node=node.name,
            )


def external_files(path: Path) -> list[Path]:
    """The files beside ``path`` that hold its weights, by name; none where it holds them itself."""
    model = ir.load(path, format="protobuf")
    names = {
        str(tensor.location)
        for graph in model.graphs()
        for value in graph.initializers.values()
        if isinstance(tensor := value.const_value, ir.ExternalTensor)
    }
    return [path.parent / name for name in sorted(names)]


def _check_external_data(model: ir.Model, path: Path) -> None:
    folder = path.parent.resolve()
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if not isinstance(tensor, ir.ExternalTensor):
                continue
            where = f"'{path}' keeps the weights of tensor '{value.name}' in '{tensor.location}'"
            file = (folder / tensor.location).resolve()
            if not file.is_relative_to(folder):
                raise ModelError(
                    f"{where}, outside its own folder.",
                    hint="Save the model again with its external data beside it.",
                    tensor=value.name,
                )
            needed = (tensor.offset or 0) + (tensor.length or math.ceil(tensor.nbytes))
            if not file.is_file():
                raise ModelError(
                    f"{where}, which is missing.",
                    hint="Copy the external data file to the same folder.",
                    tensor=value.name,
                )
            if file.stat().st_size < needed:
                raise ModelError(
                    f"{where}, which has {file.stat().st_size} bytes; {needed} are needed.",
                    hint="Copy the external data file again: it seems to be cut short.",
                    tensor=value.name,
                )


def _check_values(model: ir.Model, path: Path) -> None:
    """Every tensor that is read must be an input, an initializer or some node's output."""
    given = {*model.graph.inputs, *model.graph.initializers.values()}
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.producer() is None and value not in given:
                raise ModelError(
                    f"'{path}' is not a valid ONNX model: node '{node.name}' ({node.op_type}) "
                    f"reads '{value.name}', which nothing produces.",
                    hint="Export the model again.",
                    tensor=value.name,
                    node=node.name,
                )
    for value in model.graph.outputs:
        if value.producer() is None and value not in given:
            raise ModelError(
                f"'{path}' is not a valid ONNX model: nothing produces its output '{value.name}'.",
                hint="Export the model again.",
                tensor=value.name,
            )


def name_nodes(model: ir.Model) -> None:
    """Give every top-level node a unique name, in place; names that are unique already stay."""
    taken: set[str] = set()
    for node in model.graph:
        base = node.name or f"{node.op_type}_{node.outputs[0].name}"
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        node.name = name
        taken.add(name)
