"""The study file's JSON schema, for editors and for the documentation."""

import json
from typing import Any

from tierwise.study.file import StudyFile


def study_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``study.yaml``."""
    schema = StudyFile.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Tierwise study file",
    }


_HEAD = """\
# The study file

Every key of `study.yaml`, its meaning and its default. Only `model` has to be there. This page is
printed by `tierwise schema --markdown`; a test keeps it so. An editor with a YAML language server
completes and checks the file with `tierwise schema > study.schema.json` and this first line:

```yaml
# yaml-language-server: $schema=study.schema.json
```

Ten lines are a whole study:

```yaml
model: model.onnx
task: classification
data: {images: images, labels: labels.csv, preprocess: {resize: [224, 224], scale: 0.00392}}
tiers:
  mobile: {cpus: 0.25, memory: 512MiB}
  edge: {cpus: 0.5, memory: 1GiB}
  cloud: {cpus: 1.0}
links: {mobile-edge: {bandwidth: 200Mbit, rtt: 5ms}, edge-cloud: {bandwidth: [1Mbit, 10Mbit]}}
operators: [I, Q, E, P, QE, QP, EP, QEP]
require: {latency: p50=80ms, max_loss: 1.0}
```

Quantities carry their unit: `10Mbit`, `1Gbit`; `5ms`, `1.5s`; `512MiB`, `2GiB`. Paths are relative
to the study file. Lists of `bandwidth` and `rtt` are swept: every combination is a network
condition. Without `tiers` and `links` there are three tiers with 0.25, 0.5 and 1.0 of a core and
512 MiB, 1 GiB and 2 GiB, 200 Mbit/s and 5 ms between the first two, 10 Mbit/s and 20 ms behind.
"""


def study_reference() -> str:
    """The study file's page of the documentation, in Markdown."""
    schema = study_schema()
    sections = schema["$defs"]
    pages = [_HEAD, _table("Top level", "", schema)]
    seen: list[str] = []
    _collect(schema, sections, seen)
    pages += [_table(f"`{_key_of(name, schema)}`", name, sections[name]) for name in seen]
    return "\n".join(pages)


def _collect(section: dict[str, Any], sections: dict[str, Any], seen: list[str]) -> None:
    """Names of the sections below ``section``, in the order of the file."""
    for field in section.get("properties", {}).values():
        for name in _references(field):
            if name not in seen and "properties" in sections[name]:
                seen.append(name)
                _collect(sections[name], sections, seen)


def _references(field: object) -> list[str]:
    if isinstance(field, dict):
        own = [field["$ref"].rsplit("/", 1)[1]] if "$ref" in field else []
        return own + [name for key, value in field.items() if key != "default"
                      for name in _references(value)]  # fmt: skip
    if isinstance(field, list):
        return [name for value in field for name in _references(value)]
    return []


def _key_of(name: str, schema: dict[str, Any], path: str = "") -> str:
    """The dotted key under which section ``name`` stands."""
    for key, field in schema.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        nested = "additionalProperties" in field and isinstance(field["additionalProperties"], dict)
        here += ".NAME" if nested else ""
        for found in _references(field):
            if found == name:
                return here
            deeper = _key_of(name, study_schema()["$defs"][found], here)
            if deeper:
                return deeper
    return ""


def _table(title: str, name: str, section: dict[str, Any]) -> str:
    lines = [f"\n## {title}\n"]
    if name and section.get("description"):
        lines.append(section["description"].replace("``", "`") + "\n")
    lines += ["| key | default | meaning |", "|---|---|---|"]
    required = section.get("required", [])
    for key, field in section["properties"].items():
        default = "required" if key in required else _default(field)
        meaning = " ".join(field.get("description", "").split()).replace("|", "\\|")
        lines.append(f"| `{key}` | {default} | {meaning} |")
    return "\n".join(lines)


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value is None:
        return ""
    if isinstance(value, dict) or _references(field):
        return "see below"
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"
