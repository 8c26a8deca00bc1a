"""Write a model to a file, whole or not at all."""

from pathlib import Path

import onnx_ir as ir

from tierwise.runtime.materialise import model_bytes

# Protobuf stops at 2 GiB; what is near it keeps its weights in a file beside it.
_IN_ONE_FILE_BYTES = 1_800_000_000


def write_model(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """Write ``model`` to ``path``; returns the files that hold it.

    There is a second file, ``NAME.onnx.data``, where the weights are near 2 GiB or more.

    Raises:
        OSError: the folder cannot be written to, or is full; an older file at ``path`` is kept.
    """
    weights = sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )
    if weights < _IN_ONE_FILE_BYTES:
        replace_file(path, model_bytes(model))
        return (path,)
    data = path.with_name(f"{path.name}.data")
    ir.save(model, path, external_data=data.name)
    return path, data


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
