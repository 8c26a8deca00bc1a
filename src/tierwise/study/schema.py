"""The study file's JSON schema, for editors and for the documentation."""

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
