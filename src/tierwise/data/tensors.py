"""Ready tensors, from an ``.npz`` or random."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tierwise.data.fit import InputSpec, fits, show
from tierwise.errors import DataError

LABELS = "labels"  # the array of an npz that is no input
RANDOM_SEED = 20260127
# heuristic: half of them suffice to search for early exits; more cost memory and say no more.
RANDOM_COUNT = 32
# heuristic: what image models are commonly exported for; divisible by 32, as detectors require.
FREE_IMAGE_SIDE = 224
FREE_LENGTH = 32  # heuristic: tokens, frames, boxes
# heuristic: valid as token ids, flags, lengths and class ids of nearly every model.
SMALLEST_INT, LARGEST_INT = 0, 2


@dataclass(frozen=True)
class TensorSamples:
    """Tensors that go into the model as they are.

    Attributes:
        arrays: By input name; one sample per index of the first axis, which is not a batch axis
            for inputs in ``unbatched``.
        dtypes: What each input wants, by name.
        unbatched: Inputs whose sample is ``array[i]`` and not ``array[i : i + 1]``.
        ids: The positions, as text.
        labels: Class ids ``(n,)``, class maps ``(n, h, w)``, or ``None``.
    """

    arrays: Mapping[str, np.ndarray]
    dtypes: Mapping[str, str]
    unbatched: frozenset[str]
    ids: tuple[str, ...]
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    preprocess: None = None
    input_name: None = None

    def payload(self, index: int) -> dict[str, np.ndarray]:
        """The same as :meth:`feeds`: the device has the tensors."""
        return self.feeds(index)

    def feeds(self, index: int) -> dict[str, np.ndarray]:
        """The model's inputs of one sample."""
        return {
            name: np.ascontiguousarray(
                array[index] if name in self.unbatched else array[index : index + 1],
                dtype=self.dtypes[name],
            ).reshape(array.shape[1:] if name in self.unbatched else (1, *array.shape[1:]))
            for name, array in self.arrays.items()
        }


def open_npz(path: Path, inputs: Sequence[InputSpec]) -> TensorSamples:
    """The tensors of ``path``, checked against the model's ``inputs``.

    An array whose rank is the input's own has the samples where the input has its batch; one of
    a rank higher holds whole inputs.

    Raises:
        DataError: not an npz, arrays missing or unknown, different counts, shapes or types that
            do not fit.
    """
    arrays = _load(path)
    labels = arrays.pop(LABELS, None) if LABELS not in {one.name for one in inputs} else None
    names = [one.name for one in inputs]
    missing, unknown = [n for n in names if n not in arrays], sorted(set(arrays) - set(names))
    if missing or unknown:
        raise DataError(
            f"{path.name} holds the arrays {', '.join(sorted(arrays)) or '(none)'}; the model's "
            f"inputs are {', '.join(names)}.",
            hint=f"Save one array per input, named like it, and optionally `{LABELS}`.",
            missing=tuple(missing),
            unknown=tuple(unknown),
        )
    unbatched = frozenset(one.name for one in inputs if _is_unbatched(arrays[one.name], one, path))
    counts = {name: len(array) for name, array in arrays.items()}
    if labels is not None:
        counts[LABELS] = len(labels) if labels.ndim else 0
    if len(set(counts.values())) != 1 or min(counts.values()) == 0:
        raise DataError(
            f"The arrays of {path.name} hold different numbers of samples, or none: "
            f"{', '.join(f'{name} {count}' for name, count in counts.items())}.",
            hint="The first axis of every array counts the samples.",
        )
    return TensorSamples(
        arrays=arrays,
        dtypes={one.name: one.dtype for one in inputs},
        unbatched=unbatched,
        ids=tuple(str(i) for i in range(counts[names[0]])),
        labels=None if labels is None else _check_labels(labels, path),
    )


def random_samples(
    inputs: Sequence[InputSpec], sizes: Mapping[str, tuple[int, ...]]
) -> TensorSamples:
    """The same random inputs every time: floats normal(0, 1), integers small, booleans even.

    Args:
        inputs: The model's inputs.
        sizes: Shapes to use instead of the guessed ones, by input name.

    Raises:
        DataError: ``sizes`` names an unknown input or contradicts the model; a type that has no
            random values.
    """
    names = [one.name for one in inputs]
    unknown = sorted(set(sizes) - set(names))
    if unknown:
        raise DataError(
            f"`sizes` names {', '.join(unknown)}; the model's inputs are {', '.join(names)}."
        )
    generator = np.random.default_rng(RANDOM_SEED)
    arrays: dict[str, np.ndarray] = {}
    for one in inputs:
        shape = sizes.get(one.name) or _concrete(one.shape)
        if not fits(tuple(shape), one.shape):
            raise DataError(
                f"`sizes` gives {one.name!r} the shape {list(shape)}; the model wants "
                f"{show(one.shape)}."
            )
        arrays[one.name] = _random((RANDOM_COUNT, *shape), one, generator)
    return TensorSamples(
        arrays=arrays,
        dtypes={one.name: one.dtype for one in inputs},
        unbatched=frozenset(names),
        ids=tuple(f"random-{i}" for i in range(RANDOM_COUNT)),
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        # np.load leaves a file open that it opened itself and then finds damaged.
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{path} holds a single array; an .npz with named arrays is required.",
                    hint="Save it with `numpy.savez(FILE, INPUT_NAME=array)`.",
                )
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        said = str(error).rstrip(".")
        if "pickle" in said:  # which NumPy says of all that it doesn't know, and how to run it
            said = "it holds something else than arrays of numbers"
        raise DataError(
            f"{path} cannot be read as an .npz: {said}.",
            hint="Save it with `numpy.savez(FILE, INPUT_NAME=array)`; pickled objects are refused.",
            path=path,
        ) from error


def _is_unbatched(array: np.ndarray, wanted: InputSpec, path: Path) -> bool:
    castable = np.can_cast(array.dtype, np.dtype(wanted.dtype), casting="same_kind")
    one = (1, *array.shape[1:])
    if castable and array.ndim and fits(one, wanted.shape):
        return False
    if castable and array.ndim and fits(array.shape[1:], wanted.shape):
        return True
    raise DataError(
        f"The array {wanted.name!r} of {path.name} is {array.dtype} {list(array.shape)}; for the "
        f"model's input {wanted.dtype} {show(wanted.shape)} a sample of it does not fit.",
        hint="The first axis counts the samples; each sample goes in as a batch of one.",
        input=wanted.name,
    )


def _check_labels(labels: np.ndarray, path: Path) -> np.ndarray:
    if labels.ndim not in (1, 3) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"The array `{LABELS}` of {path.name} is {labels.dtype} {list(labels.shape)}; class "
            "ids (n,) or class maps (n, h, w) of an integer type are required."
        )
    return labels.astype(np.int64) if labels.ndim == 1 else labels


def _concrete(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """Sizes for the free axes: one sample, the side of an image, or a length."""
    free = FREE_IMAGE_SIDE if len(shape) == 4 else FREE_LENGTH
    return tuple(
        size if size is not None else (1 if axis == 0 else free) for axis, size in enumerate(shape)
    )


def _random(
    shape: tuple[int, ...], wanted: InputSpec, generator: np.random.Generator
) -> np.ndarray:
    dtype = np.dtype(wanted.dtype)
    if dtype == np.bool_:
        return generator.random(shape) < 0.5
    if np.issubdtype(dtype, np.integer):
        # Bytes are pixels; wider integers are ids and lengths.
        low, high = (0, 256) if dtype == np.uint8 else (SMALLEST_INT, LARGEST_INT)
        return generator.integers(low, high, shape).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape, dtype=np.float32).astype(dtype)
    raise DataError(
        f"The model's input {wanted.name!r} is of type {wanted.dtype}, for which there is no "
        "random input.",
        hint="Give real input: `data: {npz: FILE}`.",
        input=wanted.name,
    )
