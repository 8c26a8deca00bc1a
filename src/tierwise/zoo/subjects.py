"""The subjects that come with the product: a trained model, its data, and a study of them."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from tierwise.disk import write_whole
from tierwise.errors import UserError
from tierwise.progress import SILENT, Progress

_ASSETS = files("tierwise.zoo") / "assets"


@dataclass(frozen=True)
class SubjectInfo:
    """One shipped subject.

    Attributes:
        name: What ``tierwise zoo export`` takes.
        task: ``"classification"`` or ``"segmentation"``.
        summary: What it is, in one line.
        licence: Of the data and the model.
        metric: ``"top-1"`` or ``"mIoU"``.
        value: Of the fp32 model over all shipped images, in points.
        images: How many labelled images come with it, none of them trained on.
    """

    name: str
    task: str
    summary: str
    licence: str
    metric: str
    value: float
    images: int


@cache
def subjects() -> tuple[SubjectInfo, ...]:
    """The shipped subjects; the first is the one of ``tierwise demo``."""
    digits, scenes = _record("digits"), _record("scenes")
    return (
        SubjectInfo(
            name="digits",
            task="classification",
            summary="handwritten digits as a cheap camera sees them; ResNet-"
            f"{6 * int(digits['blocks_per_stage']) + 2} at 96x96, 10 classes",
            licence="images CC BY 4.0 (UCI Optical Recognition of Handwritten Digits); "
            "model Apache-2.0",
            metric="top-1",
            value=float(digits["top_1"]),
            images=int(digits["shipped_images"]),
        ),
        SubjectInfo(
            name="scenes",
            task="segmentation",
            summary="composited scenes: digits on photographs; residual FCN at 96x96, 11 classes",
            licence="digits CC BY 4.0, photographs CC0 (scikit-image); model Apache-2.0",
            metric="mIoU",
            value=float(scenes["mean_iou"]),
            images=int(scenes["shipped_images"]),
        ),
    )


def subject(name: str) -> SubjectInfo:
    """The subject called ``name``, or the first of that task.

    Raises:
        UserError: there is none; the message names those that exist.
    """
    for info in subjects():
        if name in (info.name, info.task):
            return info
    raise UserError(
        f"No subject {name!r} comes with Tierwise.",
        hint=f"Choose one of {', '.join(info.name for info in subjects())}.",
        name=name,
    )


def materialise(name: str, folder: Path, progress: Progress = SILENT) -> Path:
    """Write the subject ``name`` into ``folder``: model, images, labels and a study file.

    Done again, it leaves what is already there alone. Every file appears complete or not at all.

    Args:
        name: A subject's name, or a task (``"segmentation"``).
        folder: Made if it is not there.
        progress: Told of every file.

    Returns:
        The path of ``study.yaml``.

    Raises:
        UserError: there is no such subject, or a file of the same name with other content.
        DiskFull: no space is left.
    """
    info = subject(name)
    contents = _contents(info)
    study = folder / "study.yaml"
    _refuse_to_overwrite(folder, contents)
    with progress.task(f"Unpack {info.name}", len(contents)) as task:
        for path, content in contents.items():
            write_file(folder / path, content)
            task.advance(note=path)
    return study


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` through a temporary file beside it, unless it is there.

    Raises:
        DiskFull: no space is left; nothing half-written stays.
    """
    if path.is_file() and path.read_bytes() == content:
        return
    write_whole(path, content)


def _contents(info: SubjectInfo) -> dict[str, bytes]:
    """Every file of a subject by its path, the study file last."""
    contents = {"model.onnx": (_ASSETS / f"{info.name}.onnx").read_bytes()}
    with zipfile.ZipFile(io.BytesIO((_ASSETS / f"{info.name}.zip").read_bytes())) as archive:
        contents |= {name: archive.read(name) for name in archive.namelist()}
    contents["study.yaml"] = (_ASSETS / f"{info.name}.yaml").read_bytes()
    return contents


def _refuse_to_overwrite(folder: Path, contents: Mapping[str, bytes]) -> None:
    for path, content in contents.items():
        there = folder / path
        if there.exists() and (there.is_dir() or there.read_bytes() != content):
            raise UserError(
                f"{there} is already there with other content.",
                hint="Choose an empty folder with `-o DIR`, or remove the file.",
                path=there,
            )


def _record(name: str) -> dict[str, float]:
    record: dict[str, float] = json.loads((_ASSETS / f"{name}.json").read_text("utf-8"))
    return record
