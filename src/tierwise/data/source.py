"""A subject's inputs, one request at a time, whatever they come from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from tierwise.data.fit import InputSpec
from tierwise.data.images import ImageSamples, open_images
from tierwise.data.preprocess import Preprocess
from tierwise.data.spec import DataSpec
from tierwise.data.tensors import TensorSamples, open_npz, random_samples
from tierwise.errors import DataError

__all__ = ["DataSpec", "Dataset", "InputSpec", "Payload", "open_dataset"]

Payload = bytes | dict[str, np.ndarray]


class Dataset:
    """Inputs with ids and, where there are any, labels; opened by :func:`open_dataset`.

    Immutable. Images are read and decoded when asked for, not before.

    Attributes:
        description: Where the inputs are from, in words.
        random: Whether the inputs are random: latency can be measured, quality cannot.
        preprocess: What turns a payload into feeds, or ``None`` where payloads are tensors.
        input_name: The model input that the image goes into, or ``None`` for tensors.
    """

    def __init__(
        self,
        samples: ImageSamples | TensorSamples,
        *,
        description: str,
        random: bool = False,
        indices: np.ndarray | None = None,
    ) -> None:
        """Present ``samples``, or those at ``indices``, in that order."""
        self._samples = samples
        self._indices = np.arange(len(samples.ids)) if indices is None else indices
        self.description = description
        self.random = random
        self.preprocess: Preprocess | None = samples.preprocess
        self.input_name: str | None = samples.input_name

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def ids(self) -> tuple[str, ...]:
        """A stable name of every input: the file, or its position."""
        return tuple(self._samples.ids[index] for index in self._indices)

    @property
    def labels(self) -> np.ndarray | None:
        """Class ids ``(n,)`` int64, class maps ``(n, h, w)`` uint8, or ``None``.

        Class maps have been through the pre-processing's crops and resize.
        """
        labels = self._samples.labels
        return None if labels is None else labels[self._indices]

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the class ids from 0, where sub-folders gave them."""
        return self._samples.class_names

    def payload(self, i: int) -> Payload:
        """What the user's device has of input ``i``: the encoded image, or tensors by name."""
        return self._samples.payload(int(self._indices[i]))

    def feeds(self, i: int) -> dict[str, np.ndarray]:
        """The model's inputs for input ``i``: a batch of one, pre-processed.

        Raises:
            DataError: the image cannot be read or decoded, or does not fit the model.
        """
        return self._samples.feeds(int(self._indices[i]))

    def subset(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The inputs at ``indices`` of this data set, in that order."""
        chosen = self._indices[np.asarray(indices, dtype=np.int64)]
        return type(self)(
            self._samples, description=self.description, random=self.random, indices=chosen
        )


def open_dataset(spec: DataSpec, inputs: Sequence[InputSpec], base_dir: Path) -> Dataset:
    """Open what ``spec`` names and check that it fits a model with ``inputs``.

    The first input is pre-processed here, so that a wrong shape or type is told before anything
    runs; later images are checked when they are asked for.

    Args:
        spec: The ``data`` section of a study file.
        inputs: The model's inputs.
        base_dir: What relative paths are relative to.

    Raises:
        DataError: nothing there, labels that do not match, shapes or types that do not fit.
    """
    if spec.images is not None:
        samples = open_images(spec, _only_input(inputs), base_dir)
        samples.feeds(0)
        return Dataset(samples, description=f"{len(samples.ids)} images of {spec.images}")
    if spec.npz is not None:
        tensors = open_npz(base_dir / spec.npz, inputs)
        return Dataset(tensors, description=f"{len(tensors.ids)} tensors of {spec.npz}")
    made_up = random_samples(inputs, spec.sizes)
    return Dataset(made_up, description=f"{len(made_up.ids)} random inputs", random=True)


def _only_input(inputs: Sequence[InputSpec]) -> InputSpec:
    if len(inputs) != 1:
        raise DataError(
            f"Images feed a model with one input; this one has {len(inputs)}: "
            f"{', '.join(spec.name for spec in inputs)}.",
            hint="Save an array for each of them in one file and set `data: {npz: FILE}`.",
        )
    return inputs[0]
