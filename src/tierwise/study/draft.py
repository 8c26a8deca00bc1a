"""A first study file for a model, with what can be found out filled in and explained."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tierwise.errors import UserError
from tierwise.graph.load import load_model
from tierwise.runtime.session import Port, open_session

_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
# heuristic: an output of this many numbers at least is scores of classes and not a box or a mask.
_FEWEST_CLASSES = 2
_MOST_IMAGES_LOOKED_AT = 10_000
# heuristic: the commonest side of an image, and a length that token models are often run with.
_IMAGE_SIDE, _TOKENS = 224, 128


@dataclass(frozen=True)
class Found:
    """What could be found out of a model and a folder.

    Attributes:
        task: ``"classification"``, ``"segmentation"`` or ``"any"``, and why.
        preprocess: Lines of the ``preprocess`` section, or none where the input is no image.
        data: Lines of the ``data`` section, each with its comment.
    """

    task: tuple[str, str]
    preprocess: tuple[str, ...]
    data: tuple[str, ...]


def draft_study(model: Path, out: Path, data: Path | None = None) -> str:
    """The text of a study file for ``model``, to be written to ``out``.

    Args:
        model: The ONNX file.
        out: Where the study file will be: paths in it are relative to its folder.
        data: A folder of images (with ``labels.csv`` beside or in it, or one sub-folder a class),
            or an ``.npz`` of tensors.

    Raises:
        ModelError: the model cannot be used.
        UserError: ``data`` is neither.
    """
    load_model(model)
    with open_session(model) as session:
        inputs, outputs = session.inputs, session.outputs
    found = look_at(inputs, outputs, data, out.parent)
    task, why = found.task
    lines = [
        f"# A study of {model.name}: which operator, on which tier, cut where.",
        "# Every setting: `tierwise schema --markdown`; for an editor: `tierwise schema`.",
        f"model: {_relative(model, out.parent)}",
        f"task: {task:<24}  # {why}",
        "data:",
        *(f"  {line}" for line in found.data),
    ]
    if found.preprocess:
        lines += ["  preprocess:                   # check this against the model's training"]
        lines += [f"    {line}" for line in found.preprocess]
    return "\n".join(lines) + "\n" + _REST


_REST = """\
# Shares of this machine's cores stand for the tiers; `url: http://HOST:PORT` names a real one.
tiers:
  mobile: {cpus: 0.25, memory: 512MiB}
  edge: {cpus: 0.5, memory: 1GiB}
  cloud: {cpus: 1.0, memory: 2GiB}
links:                            # a list is swept: bandwidth: [1Mbit, 10Mbit, 100Mbit]
  mobile-edge: {bandwidth: 200Mbit, rtt: 5ms}
  edge-cloud: {bandwidth: 10Mbit, rtt: 20ms}
operators: [I, Q, E, P, QE, QP, EP, QEP]
measure: {samples: 30}            # 90 or more back a p95
# require: {latency: p50=80ms, max_loss: 1.0, max_memory: 512MiB}
"""


def look_at(
    inputs: Sequence[Port], outputs: Sequence[Port], data: Path | None, base: Path
) -> Found:
    """What the shapes of a model and the files of a folder tell."""
    image = _image_input(inputs)
    labels: tuple[str, ...]
    if data is None:
        labels = (
            "# Without data the input is random: latency only, no quality. Name a folder:",
            "# images: images             # PNG, JPEG, WebP, ...",
            "# labels: labels.csv         # `file,label`; or `folders`; or masks: FOLDER",
        )
        if image is None:
            labels = (
                "# Without data the input is random: latency only, no quality. Name tensors:",
                "# npz: inputs.npz            # one array per input, and optionally `labels`",
            )
        free = [port for port in inputs if None in port.shape]
        if free:
            sizes = ", ".join(f"{port.name}: {_sizes(port)}" for port in free)
            assumed = f"{_TOKENS} tokens" if _takes_tokens(free[0]) else "free sizes"
            labels += (f"# sizes: {{{sizes}}}   # assumed: {assumed}",)
    else:
        labels = _data_lines(data, base, image)
    preprocess = _preprocess(image) if image is not None and _holds_images(data) else ()
    return Found(_task(outputs), preprocess, labels)


def _sizes(port: Port) -> str:
    """A batch of one, and for other free sizes the commonest of inputs that look like it."""
    assumed = _TOKENS if _takes_tokens(port) else _IMAGE_SIDE
    sizes = [
        size if size is not None else (1 if axis == 0 else assumed)
        for axis, size in enumerate(port.shape)
    ]
    return str(sizes)


def _takes_tokens(port: Port) -> bool:
    """Whether the input is batches of token ids or their masks."""
    return len(port.shape) == 2 and port.dtype in {"int64", "int32"}


def _holds_images(data: Path | None) -> bool:
    return data is None or data.is_dir()


def _task(outputs: Sequence[Port]) -> tuple[str, str]:
    """The task that the outputs look like, and why."""
    first = outputs[0]
    shape = tuple(
        1 if size is None and axis == 0 else size for axis, size in enumerate(first.shape)
    )
    floats = first.dtype.startswith("float")
    shown = "x".join("?" if size is None else str(size) for size in first.shape) or "scalar"
    if len(outputs) == 1 and floats:
        sizes = [size for size in shape if size != 1]
        if len(shape) >= 2 and len(sizes) == 1 and (sizes[0] or 0) >= _FEWEST_CLASSES:
            return "classification", f"the output is {shown}: scores of classes"
        if len(shape) == 4 and shape[1] is not None and shape[1] >= _FEWEST_CLASSES:
            return "segmentation", f"the output is {shown}: scores of classes by pixel"
    many = f"{len(outputs)} outputs, the first" if len(outputs) > 1 else "the output is"
    return "any", f"{many} {shown}: judged by agreement with the original"


@dataclass(frozen=True)
class _ImageInput:
    height: int | None
    width: int | None
    channels: int
    layout: str
    dtype: str


def _image_input(inputs: Sequence[Port]) -> _ImageInput | None:
    """The input as an image, where it is the only one and has 1 or 3 channels."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        return None
    _, a, b, c = inputs[0].shape
    dtype = inputs[0].dtype
    if a in {1, 3}:
        return _ImageInput(b, c, a, "NCHW", dtype)
    return _ImageInput(a, b, c, "NHWC", dtype) if c in {1, 3} else None


def _preprocess(image: _ImageInput) -> tuple[str, ...]:
    lines = []
    if image.channels == 1:
        lines.append("color: L")
    if image.height is not None and image.width is not None:
        lines.append(f"resize: [{image.height}, {image.width}]")
    else:
        lines.append("# resize: [224, 224]        # the model takes any size")
    if image.dtype.startswith("float"):
        lines += [
            f"scale: {1 / 255}   # pixels 0 to 255 become 0 to 1",
            "# mean: [0.485, 0.456, 0.406]   # ImageNet's, if it was trained so",
            "# std: [0.229, 0.224, 0.225]",
        ]
    lines += [f"layout: {image.layout}", f"dtype: {image.dtype}"]
    return tuple(lines)


def _data_lines(data: Path, base: Path, image: _ImageInput | None) -> tuple[str, ...]:
    if data.suffix == ".npz" and data.is_file():
        return (f"npz: {_relative(data, base)}",)
    if not data.is_dir():
        raise UserError(
            f"--data {data} is neither a folder of images nor an .npz file.",
            hint="Give a folder, or save one array per input: `numpy.savez(FILE, NAME=ARRAY)`.",
            path=str(data),
        )
    if image is None:
        raise UserError(
            f"--data {data} is a folder of images, but the model's input is no image.",
            hint="Give an .npz with one array per input.",
            path=str(data),
        )
    pictures, folders = _count(data)
    if not pictures:
        raise UserError(
            f"There is no image in {data}.",
            hint=f"Images end in {', '.join(sorted(_IMAGES))}.",
            path=str(data),
        )
    lines = [f"images: {_relative(data, base)}   # {pictures} images"]
    tables = [path for path in (data / "labels.csv", data.parent / "labels.csv") if path.is_file()]
    if tables:
        lines.append(f"labels: {_relative(tables[0], base)}")
    elif folders > 1:
        lines.append(f"labels: folders              # {folders} sub-folders, one a class")
    elif (data.parent / "masks").is_dir():
        lines.append(f"masks: {_relative(data.parent / 'masks', base)}")
    else:
        lines.append("# labels: labels.csv         # `file,label`; without: agreement only")
    return tuple(lines)


def _count(data: Path) -> tuple[int, int]:
    """Images below ``data`` and the number of sub-folders that hold them."""
    pictures, folders = 0, set()
    for folder, _, names in os.walk(data):
        here = sum(Path(name).suffix.lower() in _IMAGES for name in names)
        pictures += here
        if here and Path(folder) != data:
            folders.add(folder)
        if pictures > _MOST_IMAGES_LOOKED_AT:
            break
    return pictures, len(folders)


def _relative(path: Path, base: Path) -> str:
    """``path`` as the study file in ``base`` names it, quoted where YAML needs it."""
    text = os.path.relpath(path.resolve(), base.resolve()).replace(os.sep, "/")
    plain = all(character.isalnum() or character in "._-/" for character in text)
    return text if plain else "'" + text.replace("'", "''") + "'"
