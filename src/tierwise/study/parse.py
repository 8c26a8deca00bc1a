"""Read a study file; every error says the file, the line, the value and what is required."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tierwise.errors import StudyFileError
from tierwise.study.file import StudyFile

# heuristic: more than this and the first ones are the cause of the others.
_MOST_ERRORS = 5
# A study file is written by hand; anything larger is a mistake (or YAML with expanding aliases).
_MOST_BYTES = 1_000_000
_PATTERNS = {
    "latency": "a percentile and its limit. Write p95=80ms",
    "url": "an address. Write http://HOST:PORT",
}
# pydantic's kinds of errors, for people who write YAML.
_NUMBERS = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
}
_BOUNDS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


def read_study_file(path: Path) -> StudyFile:
    """The study in ``path``.

    Raises:
        StudyFileError: the file cannot be read or understood (``.file``, ``.line``).
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise StudyFileError(
                f"{path} has {path.stat().st_size} bytes; a study file has at most {_MOST_BYTES}.",
                hint="Name the model under `model:` in a study file, "
                "or write one: `tierwise init MODEL.onnx -o study.yaml`.",
                file=str(path),
            )
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StudyFileError(
            f"Cannot read the study file {path}: byte {error.start} is not UTF-8 text.",
            hint="Save it as UTF-8; the model itself is named under `model:` in it.",
            file=str(path),
        ) from error
    except OSError as error:
        inside = next(iter(sorted(path.glob("*.y*ml"))), None)
        hint = "Write one: `tierwise init MODEL.onnx -o study.yaml`."
        raise StudyFileError(
            f"Cannot read the study file {path}: {str(error.strerror).lower()}.",
            hint=hint if inside is None else f"Give the file in it: {inside}.",
            file=str(path),
        ) from error
    return parse_study(text, str(path))


def parse_study(text: str, file: str = "study.yaml") -> StudyFile:
    """The study in ``text``; ``file`` is its name in messages.

    Raises:
        StudyFileError: the text cannot be understood (``.file``, ``.line``).
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is not None:
            _refuse_repeated_keys(tree, file)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        line = None if mark is None else mark.line + 1
        raise StudyFileError(
            f"{_place(file, line)}: {problem}.",
            hint="Indent with spaces, and put text with special characters in quotes.",
            file=file,
            line=line,
        ) from error
    if not isinstance(content, dict) or tree is None:
        raise StudyFileError(
            f"{file}: a study file is a mapping that starts with `model: model.onnx`.",
            hint="Write one: `tierwise init MODEL.onnx -o study.yaml`.",
            file=file,
            line=1,
        )
    try:
        return StudyFile.model_validate(content)
    except ValidationError as error:
        raise _explain(error, tree, file) from error


def _place(file: str, line: int | None) -> str:
    return file if line is None else f"{file}:{line}"


def _refuse_repeated_keys(tree: yaml.Node, file: str) -> None:
    for node in _walk(tree, set()):
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise StudyFileError(
                    f"{_place(file, line)}: `{key.value}` is there twice "
                    f"(first in line {seen[key.value]}).",
                    hint="Remove one of them.",
                    file=file,
                    line=line,
                )
            if isinstance(key.value, str):
                seen[key.value] = line


def _walk(node: yaml.Node, seen: set[int]) -> Iterator[yaml.Node]:
    # Aliases make the tree a graph, so every node is visited once.
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _walk(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _walk(value, seen)


def _explain(error: ValidationError, tree: yaml.Node, file: str) -> StudyFileError:
    found = error.errors(include_url=False)
    lines = []
    first_line = None
    for one in found[:_MOST_ERRORS]:
        line, shown = _locate(tree, one["loc"])
        first_line = first_line or line
        lines.append(f"{_place(file, line)}: {_say(one, shown)}")
    if len(found) > _MOST_ERRORS:
        lines.append(f"... and {len(found) - _MOST_ERRORS} more.")
    return StudyFileError(
        "\n".join(lines),
        hint="`tierwise schema --markdown` explains every key; editors check `tierwise schema`.",
        file=file,
        line=first_line,
        errors=len(found),
    )


def _locate(tree: yaml.Node, loc: Sequence[int | str]) -> tuple[int | None, str]:
    """Line of what ``loc`` points at (as deep as the file goes), and its dotted path."""
    node, line, shown = tree, None, []
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if pair is None:
                # A pydantic-internal step (a union's branch, a validator), or a missing key.
                if isinstance(step, str) and (step.isidentifier() and step.islower()):
                    shown.append(step)
                continue
            line, node = pair[0].start_mark.line + 1, pair[1]
            shown.append(str(step))
        elif isinstance(node, yaml.SequenceNode) and step in range(len(node.value)):
            node = node.value[int(step)]
            line = node.start_mark.line + 1
            shown[-1:] = [f"{shown[-1]}[{step}]"] if shown else [f"[{step}]"]
    return line, ".".join(shown)


def _say(error: Mapping[str, Any], shown: str) -> str:
    kind, value = error["type"], error.get("input")
    message = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    key = shown.rpartition(".")[2]
    if kind == "extra_forbidden":
        known = _known_keys(error["loc"])
        said = f"there is no key `{shown}`.{_did_you_mean(str(error['loc'][-1]), known)}"
    elif kind == "missing":
        said = f"`{shown}` is missing."
    elif kind == "value_error":
        said = f"{shown}: {message}." if shown else f"{message}."
    elif kind in {"enum", "literal_error"}:
        words = re.findall(r"'([^']*)'", str(error["ctx"]["expected"]))
        said = f"{shown}: {value!r} is none of {', '.join(words)}."
        said += _did_you_mean(str(value), words, listed=True)
    elif kind == "string_pattern_mismatch" and key in _PATTERNS:
        said = f"{shown}: {value!r} is not {_PATTERNS[key]}."
    elif kind in _NUMBERS:
        said = f"{shown}: {value!r} is not {_NUMBERS[kind]}."
    elif kind in _BOUNDS:
        (bound,) = error["ctx"].values()
        said = f"{shown} is {value!r}; it must be {_BOUNDS[kind]} {bound:g}."
    elif kind in {"model_type", "dict_type"}:
        said = f"{shown}: {value!r} is not a section. Write its keys indented below it."
    else:
        said = f"{shown}: {message[:1].lower()}{message[1:]}, but it is {value!r}."
    return said


def _did_you_mean(word: str, known: Sequence[str], *, listed: bool = False) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean `{close[0]}`?"
    return f" Possible: {', '.join(known)}." if known and not listed else ""


def _known_keys(loc: Sequence[int | str]) -> list[str]:
    """The keys that the section around ``loc``'s last step may have."""
    model: type[BaseModel] | None = StudyFile
    for step in loc[:-1]:
        if model is None:
            return []
        by_key = {field.alias or name: field for name, field in model.model_fields.items()}
        if str(step) in by_key:
            model = _section_of(by_key[str(step)].annotation) or model
    return [field.alias or name for name, field in (model or StudyFile).model_fields.items()]


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as ``dict[str, TierSpec]`` or ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section_of(argument) for argument in getattr(annotation, "__args__", ()))
    return next((section for section in inner if section is not None), None)
