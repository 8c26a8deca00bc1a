"""Which model files an agent takes: checked on the file's own structure, before it is run.

Not :func:`tierwise.graph.load.load_model`: the graph editor behind it costs an agent 1 s of start
and 30 MB of memory (``python -c "import onnx_ir"``), which a small tier does not have.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from tierwise.serving.faults import BadRequest, TooLarge

# What ONNX Runtime executes without a library of custom operators.
_KNOWN_DOMAINS = frozenset({
    "", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training",
    "com.microsoft", "com.microsoft.experimental", "com.microsoft.nchwc",
})  # fmt: skip


def check_model_file(path: Path, *, max_bytes: int, allow_custom_operators: bool) -> None:
    """Refuse a model file that must not be opened.

    Raises:
        TooLarge: it, with its external data, has more than ``max_bytes``.
        BadRequest: it isn't ONNX, keeps weights outside its own folder, or needs operators of
            unknown domains and ``allow_custom_operators`` is off.
    """
    size = path.stat().st_size
    if size <= max_bytes:
        model = _read(path)
        size += sum(_external_bytes(tensor, path) for tensor in _tensors(model.graph))
        if not allow_custom_operators:
            _check_operators(model)
    if size > max_bytes:
        raise TooLarge(
            f"The model has {size} bytes; this agent takes {max_bytes}. "
            "Raise it there: `tierwise serve --max-model 8GiB`."
        )


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise BadRequest("The file is not ONNX: it cannot be read as a model.") from error
    if not model.graph.node:
        raise BadRequest("The file is not an ONNX model: it holds no graph with nodes.")
    return model


def _check_operators(model: onnx.ModelProto) -> None:
    local = {function.domain for function in model.functions}
    for imported in model.opset_import:
        if imported.domain in _KNOWN_DOMAINS or imported.domain in local:
            continue
        users = [node for node in _nodes(model.graph) if node.domain == imported.domain]
        if users:
            raise BadRequest(
                f"The model needs the custom operator '{imported.domain}::{users[0].op_type}' "
                f"(node {users[0].name!r:.100}). Export it as standard operators, or start the "
                "agent with --allow-custom-operators."
            )


def _external_bytes(tensor: onnx.TensorProto, path: Path) -> int:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return 0
    entries = {entry.key: entry.value for entry in tensor.external_data}
    folder = path.parent.resolve()
    file = (folder / entries.get("location", "")).resolve()
    if not file.is_relative_to(folder) or not file.is_file() or file == path.resolve():
        raise BadRequest(
            f"The weights of {tensor.name!r:.100} lie in {entries.get('location', '')!r:.200}: "
            "external data must be a file beside the model (an artefact has its weights inside)."
        )
    length = entries.get("length", "")
    return int(length) if length.isdigit() else file.stat().st_size


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    waiting.append(attribute.g)
                waiting.extend(attribute.graphs)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for each in _graphs(graph):
        yield from each.node


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for each in _graphs(graph):
        yield from each.initializer
        for node in each.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
