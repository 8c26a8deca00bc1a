"""What a study directory belongs to, and what may change without starting over."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tierwise.data.source import Dataset
from tierwise.errors import UserError
from tierwise.graph.load import external_files
from tierwise.progress import SILENT, Progress, Task
from tierwise.store.artefacts import file_sha256
from tierwise.store.codec import dump
from tierwise.store.write import StudyStore
from tierwise.study.file import StudyFile
from tierwise.study.subject import Subject

# What does not change any number that is already measured: names, requirements, how many more
# samples are wanted, and where the model and the data lie, whose content counts instead.
_MAY_CHANGE = {"name", "require", "measure.samples", "measure.max_samples", "measure.precision",
               "measure.budget", "measure.strategies", "model", "data.images", "data.labels",
               "data.masks", "data.npz"}  # fmt: skip
# Nor how a study is let in by a real tier.
_ACCESS = re.compile(r"tiers\.\w+\.(token_env|ca|client_cert|client_key)")
_FACT = "identity"


def identity_of(study: StudyFile, subject: Subject, progress: Progress = SILENT) -> dict[str, str]:
    """Everything that measured numbers depend on, flat: dotted key to value."""
    found = dict(_flat(study.model_dump(mode="json", by_alias=True)))
    kept = {
        key: value
        for key, value in found.items()
        if not any(key == one or key.startswith(f"{one}.") for one in _MAY_CHANGE)
        and not _ACCESS.fullmatch(key)
    }
    datasets = subject.calibration, subject.evaluation
    with progress.task("Reading the data", sum(map(len, datasets))) as task:
        data = "".join(_data_sha256(dataset, task) for dataset in datasets)
    return {
        **kept,
        "the model's content": _model_sha256(subject.path),
        "the data": hashlib.sha256(data.encode()).hexdigest(),
    }


def _model_sha256(path: Path) -> str:
    """Hash of the file and of what holds its weights, if that is not the file itself."""
    files = [path, *external_files(path)]
    return hashlib.sha256(" ".join(map(file_sha256, files)).encode()).hexdigest()


def _data_sha256(dataset: Dataset, task: Task) -> str:
    """Hash of the inputs' names, labels and content; random ones always have the same content."""
    digest = hashlib.sha256(repr(dataset.ids).encode())
    if dataset.labels is not None:
        digest.update(np.ascontiguousarray(dataset.labels).tobytes())
    for index in range(0 if dataset.random else len(dataset)):
        task.advance()
        payload = dataset.payload(index)
        if isinstance(payload, bytes):
            digest.update(hashlib.sha256(payload).digest())
            continue
        for name, array in payload.items():
            digest.update(repr((name, array.shape, str(array.dtype))).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def check_identity(store: StudyStore, identity: Mapping[str, str]) -> str:
    """The text to store, after making sure that the directory is this study's.

    Raises:
        UserError: it holds results of another study (``.changed``: the keys).
    """
    stored = store.fact(_FACT)
    if stored is not None:
        before: dict[str, str] = json.loads(stored)
        changed = sorted(
            key for key in {*before, *identity} if before.get(key) != identity.get(key)
        )
        if changed:
            shown = "; ".join(
                f"{key} was {before.get(key, 'not set')}, is {identity.get(key, 'not set')}"
                if len(before.get(key, "")) < 60
                else f"{key} changed"
                for key in changed[:3]
            )
            more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise UserError(
                f"{store.folder} holds results of another study: {shown}{more}.",
                hint="Keep them and choose another directory with `-o DIR`, or drop them with "
                "`--fresh`.",
                changed=tuple(changed),
            )
    return dump(dict(identity))


def _flat(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif value is not None and value != {}:
        yield key, value if isinstance(value, str) else json.dumps(value)
