"""What a study directory belongs to, and what may change without starting over."""

import json
from collections.abc import Iterator, Mapping

from tierwise.errors import UserError
from tierwise.store.codec import dump
from tierwise.store.write import StudyStore
from tierwise.study.file import StudyFile
from tierwise.study.subject import Subject

# What does not change any number that is already measured: names, requirements, and how many more
# samples are wanted.
_MAY_CHANGE = {"name", "require", "measure.samples", "measure.max_samples", "measure.precision",
               "measure.budget", "measure.strategies"}  # fmt: skip
_FACT = "identity"


def identity_of(study: StudyFile, subject: Subject) -> dict[str, str]:
    """Everything that measured numbers depend on, flat: dotted key to value."""
    found = dict(_flat(study.model_dump(mode="json", by_alias=True)))
    kept = {
        key: value
        for key, value in found.items()
        if not any(key == one or key.startswith(f"{one}.") for one in _MAY_CHANGE)
    }
    return {**kept, "the model's content": subject.sha256, "the data": subject.data_sha256}


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
