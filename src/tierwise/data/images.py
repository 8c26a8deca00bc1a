"""Folders of images, with class labels or with masks."""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tierwise.data.fit import InputSpec, check_image
from tierwise.data.preprocess import Preprocess
from tierwise.data.spec import DataSpec
from tierwise.errors import DataError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
_SHOWN = 3  # names in a message about many


@dataclass(frozen=True)
class ImageSamples:
    """Image files with what is known of them.

    Attributes:
        folder: What the ids are relative to.
        ids: File names with ``/``, sorted.
        labels: Class ids ``(n,)`` int64, class maps ``(n, h, w)`` uint8, or ``None``.
        class_names: Names of the class ids, where sub-folders gave them.
        preprocess: Applied in :meth:`feeds`.
        input: The model's input that the images go into.
    """

    folder: Path
    ids: tuple[str, ...]
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    preprocess: Preprocess
    input: InputSpec

    @property
    def input_name(self) -> str:
        """Name of the model's input."""
        return self.input.name

    def payload(self, index: int) -> bytes:
        """The encoded image."""
        try:
            return (self.folder / self.ids[index]).read_bytes()
        except OSError as error:
            raise DataError(
                f"The image {self.ids[index]!r} of {self.folder} cannot be read: {error.strerror}.",
                hint="It was there when the data was opened: put it back.",
                image=self.ids[index],
            ) from error

    def feeds(self, index: int) -> dict[str, np.ndarray]:
        """The pre-processed image under the model's input name."""
        name = self.ids[index]
        array = self.preprocess.apply(self.payload(index), name=f"The image {name!r}")
        check_image(array, self.input, name)
        return {self.input.name: array}


def open_images(spec: DataSpec, wanted: InputSpec, base_dir: Path) -> ImageSamples:
    """The images of ``spec.images`` with their labels or masks; decodes no image but masks."""
    folder = base_dir / (spec.images or "")
    ids = _list_images(folder)
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    if spec.labels == "folders":
        labels, class_names = _labels_of_folders(folder, ids)
    elif spec.labels is not None:
        labels = _labels_of_csv(base_dir / spec.labels, ids)
    elif spec.masks is not None:
        labels = _masks(base_dir / spec.masks, folder, ids, spec.preprocess)
    return ImageSamples(folder, ids, labels, class_names, spec.preprocess, wanted)


def _list_images(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}.",
            hint="Set `data: {images: FOLDER}`, relative to the study file.",
            path=folder,
        )
    found = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    ]
    if not found:
        raise DataError(
            f"The folder {folder} holds no images ({', '.join(sorted(_SUFFIXES))}).",
            hint="Put at least two images there, or leave out `images` for random input.",
            path=folder,
        )
    return tuple(sorted(found))


def _labels_of_folders(folder: Path, ids: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class ids by sub-folder: the names in sorted order, or their numbers where all are."""
    loose = [name for name in ids if "/" not in name]
    if loose:
        raise DataError(
            f"labels: folders, but {len(loose)} images lie in {folder} itself: {_some(loose)}.",
            hint="Move each image into the sub-folder of its class, or give a CSV.",
        )
    owners = [name.split("/", 1)[0] for name in ids]
    names = sorted(set(owners))
    if all(name.isdecimal() for name in names):
        return np.array([int(owner) for owner in owners], dtype=np.int64), tuple(
            str(number) for number in range(max(int(name) for name in names) + 1)
        )
    class_id = {name: number for number, name in enumerate(names)}
    return np.array([class_id[owner] for owner in owners], dtype=np.int64), tuple(names)


def _labels_of_csv(path: Path, ids: Sequence[str]) -> np.ndarray:
    labels = _read_csv(path)
    _check_match(set(ids), set(labels), f"The images and {path.name}")
    return np.array([labels[name] for name in ids], dtype=np.int64)


def _read_csv(path: Path) -> dict[str, int]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The labels {path} cannot be read: {error}.",
            hint="Set `labels` to a UTF-8 CSV with the header `file,label`, or to `folders`.",
            path=path,
        ) from error
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    header = list(rows.fieldnames or ())
    if not {"file", "label"} <= set(header):
        raise DataError(
            f"{path} starts with the columns {', '.join(header) or '(none)'}; "
            "`file` and `label` are required.",
            hint="Make its first line `file,label`.",
            path=path,
        )
    labels: dict[str, int] = {}
    for row in rows:
        name, label = row["file"], (row["label"] or "").strip()
        if not label.isdecimal():
            raise DataError(
                f"Line {rows.line_num} of {path} labels {name!r} with {label!r}; "
                "a class id is required: 0, 1, 2, ...",
                hint="Write the index of the class in the model's output.",
                path=path,
            )
        if labels.setdefault(name, int(label)) != int(label):
            raise DataError(
                f"Line {rows.line_num} of {path} labels {name!r} with {label}; it was labelled "
                f"{labels[name]} before.",
                hint="Keep one label for each file.",
                path=path,
            )
    return labels


def _masks(folder: Path, images: Path, ids: Sequence[str], preprocess: Preprocess) -> np.ndarray:
    """Every image's class map after the geometry of its pre-processing, ``(n, h, w)`` uint8."""
    by_stem = {name.rsplit(".", 1)[0]: name for name in _list_images(folder)}
    stems = [name.rsplit(".", 1)[0] for name in ids]
    _check_match(set(stems), set(by_stem), f"The images and the masks of {folder.name}/")
    maps = [
        preprocess.apply_to_mask(
            _read_mask(folder / by_stem[stem], images / name), name=f"The mask of {name!r}"
        )
        for stem, name in zip(stems, ids, strict=True)
    ]
    shapes = {one.shape for one in maps}
    if len(shapes) > 1:
        raise DataError(
            f"After pre-processing the masks have {len(shapes)} different shapes: "
            f"{_some([str(list(shape)) for shape in sorted(shapes)])}.",
            hint="Give `resize: [height, width]` or a `crop` in the `preprocess` section.",
        )
    return np.stack(maps)


def _read_mask(path: Path, image_path: Path) -> np.ndarray:
    try:
        with Image.open(path) as mask, Image.open(image_path) as image:
            if mask.mode not in {"L", "P"}:
                raise DataError(
                    f"The mask {path.name!r} has pixels of type {mask.mode!r}; one channel of "
                    "8 bits with a class id in each pixel is required.",
                    hint="Save it as a greyscale or palette PNG.",
                )
            if mask.size != image.size:
                raise DataError(
                    f"The mask {path.name!r} is {mask.height}x{mask.width}, its image "
                    f"{image_path.name!r} {image.height}x{image.width} (height x width); "
                    "they must be of the same size."
                )
            return np.asarray(mask)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"The mask {path} or its image cannot be decoded: {error}.",
            hint="Replace or remove both.",
        ) from error


def _check_match(images: Collection[str], labels: Collection[str], what: str) -> None:
    missing = sorted(set(images) - set(labels))
    extra = sorted(set(labels) - set(images))
    if not missing and not extra:
        return
    parts = [
        f"{len(names)} {text}: {_some(names)}"
        for names, text in ((missing, "without a label"), (extra, "labelled but not there"))
        if names
    ]
    raise DataError(
        f"{what} do not match: {'; '.join(parts)}.",
        hint="Names are relative to the images' folder, with `/`; add or remove them.",
        missing=tuple(missing),
        extra=tuple(extra),
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more
