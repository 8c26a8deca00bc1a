"""Segments as files, and the manifest from which anyone can chain them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tierwise.graph.tensors import TensorInfo
from tierwise.operators.partition import Boundary, Partition, Segment
from tierwise.operators.write import replace_file, write_model

MANIFEST = "manifest.json"
FORMAT = 1
"""Raised when a reader of the manifest would have to change."""


def write_partition(parts: Partition, folder: Path, tiers: Sequence[str] = ()) -> Path:
    """Write ``segment-0.onnx``, ``segment-1.onnx``, ... and ``manifest.json``; returns its path.

    Every file is complete or not there, and the manifest comes last, so a folder with a manifest
    holds the segments that it names.

    Args:
        parts: The segments.
        folder: Made if it is not there.
        tiers: Where each segment is meant to run, if that is known.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for stale in folder.glob("segment-*.onnx*"):
        stale.unlink()
    files = [_write_segment(segment, index, folder) for index, segment in enumerate(parts.segments)]
    path = folder / MANIFEST
    replace_file(path, json.dumps(manifest(parts, files, tiers), indent=2).encode() + b"\n")
    return path


def manifest(
    parts: Partition, files: Sequence[dict[str, str]], tiers: Sequence[str] = ()
) -> dict[str, Any]:
    """The manifest's content; ``files`` are the file entries of the segments.

    Shapes are those of one real input: where the model leaves a size free, so do the segments.
    """
    return {
        "format": FORMAT,
        "inputs": [_tensor(info) for info in parts.graph.inputs],
        "outputs": [_tensor(info) for info in parts.graph.outputs],
        "segments": [
            {
                **file,
                **({"tier": tiers[index]} if tiers else {}),
                "macs": segment.macs,
                "inputs": [_tensor(info) for info in segment.inputs],
                "outputs": [_tensor(info) for info in segment.outputs],
            }
            for index, (segment, file) in enumerate(zip(parts.segments, files, strict=True))
        ],
        "boundaries": [_boundary(one, index) for index, one in enumerate(parts.boundaries)],
    }


def _boundary(boundary: Boundary, index: int) -> dict[str, Any]:
    return {
        "cut": boundary.cut.id,
        "from": index,
        "to": index + 1,
        "tensors": [
            {**_tensor(info), "encoding": str(boundary.encoding(info.name))}
            for info in boundary.cut.tensors
        ],
    }


def _tensor(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "shape": list(info.shape), "dtype": info.dtype}


def _write_segment(segment: Segment, index: int, folder: Path) -> dict[str, str]:
    files = write_model(segment.model, folder / f"segment-{index}.onnx")
    entry = {"file": files[0].name, "sha256": _sha256(files[0])}
    for data in files[1:]:
        entry |= {"external_data": data.name, "external_data_sha256": _sha256(data)}
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
