"""A model in memory as something that ONNX Runtime opens."""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir

from tierwise.disk import writing

# Protobuf cannot serialise more than 2 GiB; what is near it goes to a file with external data.
_IN_MEMORY_BYTES = 1_800_000_000


def materialise(model: ir.Model) -> tuple[bytes | Path, TemporaryDirectory[str] | None]:
    """Bytes where they fit a protobuf message, else a file with external data."""
    weights = sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )
    if weights < _IN_MEMORY_BYTES:
        return model_bytes(model), None
    folder = TemporaryDirectory(prefix="tierwise-")
    path = Path(folder.name) / "model.onnx"
    with writing(path):
        ir.save(model, path, external_data="model.data")
    return path, folder


def model_bytes(model: ir.Model) -> bytes:
    """The model as an ONNX file's content, its weights inside."""
    external = any(
        isinstance(value.const_value, ir.ExternalTensor)
        for graph in model.graphs()
        for value in graph.initializers.values()
    )
    if external:
        model = model.clone()
        ir.external_data.load_to_model(model)
    content: bytes = ir.to_proto(model).SerializeToString()
    return content
