"""Calibration data as the operators' commands take it: no command of its own, but their option."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from tierwise.cli.terminal import terminal
from tierwise.data.preprocess import Preprocess
from tierwise.data.source import Dataset, open_dataset
from tierwise.data.spec import DataSpec
from tierwise.data.split import split_indices
from tierwise.errors import DataError, UserError
from tierwise.quality.task import Task
from tierwise.runtime.session import Port
from tierwise.study.parse import read_study_file


@Parameter(name="*")
@dataclass(frozen=True)
class ImageOptions:
    """How a folder of images becomes the model's input.

    Attributes:
        labels: CSV with the header `file,label`, or `folders`: one sub-folder per class.
        scale: Images only: pixel values (0 to 255) are multiplied by this.
        mean: Images only: then this is subtracted; one number, or one per channel with commas.
        std: Images only: then it is divided by this; one number, or one per channel with commas.
    """

    labels: str | None = None
    scale: float | None = None
    mean: str | None = None
    std: str | None = None


NO_IMAGE_OPTIONS = ImageOptions()


def open_calibration(source: Path, inputs: tuple[Port, ...], images: ImageOptions) -> Dataset:
    """The calibration inputs in ``source``, two at least; see :func:`_open`.

    Raises:
        DataError: nothing or too little there, or it does not fit the model.
        StudyFileError: a study file that cannot be understood.
    """
    data = _open(source, inputs, images)
    if len(data) < 2:
        raise DataError(
            f"{source} holds {len(data)} input; two at least are needed, since what an operator "
            "is fitted to cannot judge it.",
            hint="Give some dozens of inputs like those that the model will see.",
            path=source,
        )
    return data


def _open(source: Path, inputs: tuple[Port, ...], images: ImageOptions) -> Dataset:
    """The inputs in ``source``: an ``.npz``, a folder of images, or a study file.

    Of a study file it is exactly what a run of the study would calibrate with, so that nothing of
    its evaluation data is seen. A folder's images are resized to the model's input; the layout,
    channels and element type are the input's.
    """
    if source.suffix in {".yaml", ".yml"}:
        study = read_study_file(source)
        data = open_dataset(study.data, inputs, source.parent)
        split = split_indices(
            len(data), study.quality.calibration, study.quality.evaluation, study.measure.seed,
            data.labels,
        )  # fmt: skip
        return data.subset(split.calibration)
    if source.suffix == ".npz":
        return open_dataset(DataSpec(npz=source.name), inputs, source.parent)
    if not source.is_dir():
        raise DataError(
            f"There is no folder '{source}', and it is neither an .npz nor a study file.",
            hint="Give --calibration a folder of images, an .npz with one array per model input, "
            "or a study.yaml.",
            path=source,
        )
    preprocess = _preprocess(inputs, images)
    labels = images.labels if images.labels in {None, "folders"} else Path(images.labels).absolute()
    spec = DataSpec(
        images=source.name, labels=None if labels is None else str(labels), preprocess=preprocess
    )
    return open_dataset(spec, inputs, source.absolute().parent)


def task_of(data: Dataset) -> Task:
    """What the labels are for; without labels any output is compared with the original's."""
    if data.labels is None:
        return "any"
    return "classification" if data.labels.ndim == 1 else "segmentation"


def _preprocess(inputs: tuple[Port, ...], images: ImageOptions) -> Preprocess:
    shape = inputs[0].shape
    last = len(shape) == 4 and shape[3] in {1, 3} and shape[1] not in {1, 3}
    channels = shape[3 if last else 1] if len(shape) == 4 else None
    height, width = (shape[1:3] if last else shape[2:4]) if len(shape) == 4 else (None, None)
    if len(inputs) != 1 or channels not in {1, 3} or height is None or width is None:
        raise DataError(
            "How an image becomes this model's input cannot be told from its shape: "
            f"{', '.join(f'{one.name} {list(one.shape)}' for one in inputs)}.",
            hint="Give --calibration an .npz with one array per input, or a study.yaml, which "
            "says how (`tierwise init`).",
        )
    floating = inputs[0].dtype.startswith("float")
    scale = images.scale if images.scale is not None else (1 / 255 if floating else 1.0)
    chosen = Preprocess(
        color="L" if channels == 1 else "RGB",
        resize=(height, width),
        scale=scale,
        mean=_numbers("--mean", images.mean, 0.0),
        std=_numbers("--std", images.std, 1.0),
        layout="NHWC" if last else "NCHW",
        dtype=inputs[0].dtype,
    )
    terminal.say(
        f"Images are resized to {height}x{width} and become {chosen.layout} {chosen.dtype}: "
        f"(pixel x {scale:.4g} - {chosen.mean}) / {chosen.std}. "
        "Other values: --scale, --mean, --std."
    )
    return chosen


def _numbers(flag: str, text: str | None, default: float) -> float | tuple[float, ...]:
    if text is None:
        return default
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as exc:
        raise UserError(
            f"{flag} {text!r} is not a number, nor numbers with commas.",
            hint=f"Write {flag} 0.5, or {flag} 0.485,0.456,0.406.",
        ) from exc
    return numbers[0] if len(numbers) == 1 else numbers
