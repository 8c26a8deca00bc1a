"""The agent's own OpenAPI description, for people and for tools that test by it."""

from functools import cache
from importlib.metadata import version
from typing import Any

from tierwise.serving.datatypes import BYTES, NUMPY_OF
from tierwise.serving.stage import NAME_PATTERN

_ERROR = {"$ref": "#/components/schemas/Error"}
_REFUSALS = {
    "400": "What was sent cannot be understood, or does not fit the model.",
    "401": "No token, or a wrong one.",
    "404": "No such path, model or artefact.",
    "408": "The request took too long to arrive.",
    "413": "More bytes than the agent accepts.",
    "431": "Headers that are too long.",
    "503": "The queue is full, or the agent is stopping; see Retry-After.",
}


@cache
def openapi(*, secured: bool) -> dict[str, Any]:
    """OpenAPI 3.1 of every path; ``secured``: of an agent that asks for a token."""
    model = _parameter("model", {"type": "string", "pattern": NAME_PATTERN.pattern})
    sha256 = _parameter("sha256", {"type": "string", "pattern": "^[0-9a-f]{64}$"})
    number = _parameter("version", {"const": "1"})
    paths: dict[str, Any] = {
        "/v2/health/live": {"get": _health("Whether the agent runs.", "live")},
        "/v2/health/ready": {"get": _health("Whether it takes requests.", "ready")},
        "/v2": {"get": _operation("Server metadata.", {"type": "object"})},
        "/v2/models/stats": {"get": _operation("Statistics of all models.", {"type": "object"})},
        "/v2/repository/index": {
            "post": _operation("Loaded models.", {"type": "array"}, body={"type": "object"})
        },
        "/v2/repository/models/{model}/load": {
            "parameters": [model],
            "post": _operation("Load a stage.", None, body=_load_schema()),
        },
        "/v2/repository/models/{model}/unload": {
            "parameters": [model],
            "post": _operation("Unload a model.", None, body={"type": "object"}),
        },
        "/tierwise/v1/artifacts/{sha256}": {
            "parameters": [sha256],
            "get": _operation("Whether a model file is here.", {"type": "object"}),
            "put": _operation("Send a model file.", None, success="201", binary=True),
        },
        "/metrics": {"get": _operation("Prometheus metrics.", None)},
        "/openapi.json": {"get": _operation("This description.", {"type": "object"})},
    }
    for base, parameters in (
        ("/v2/models/{model}", [model]),
        ("/v2/models/{model}/versions/{version}", [model, number]),
    ):
        for path, what in (
            ("", "Model metadata."),
            ("/ready", "Whether the model takes requests."),
            ("/config", "Model configuration."),
            ("/stats", "Statistics of the model."),
        ):
            paths[base + path] = {
                "parameters": parameters,
                "get": _operation(what, {"type": "object"}),
            }
        paths[f"{base}/infer"] = {
            "parameters": parameters,
            "post": _operation(
                "Inference.",
                {"$ref": "#/components/schemas/InferResponse"},
                body={"$ref": "#/components/schemas/InferRequest"},
            ),
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tierwise agent", "version": version("tierwise")},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}] if secured else [],
    }


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _health(summary: str, key: str) -> dict[str, Any]:
    answer = {"type": "object", "required": [key], "properties": {key: {"type": "boolean"}}}
    return _operation(summary, answer) | {"security": []}


def _operation(
    summary: str,
    schema: dict[str, Any] | None,
    *,
    body: dict[str, Any] | None = None,
    success: str = "200",
    binary: bool = False,
) -> dict[str, Any]:
    content = {} if schema is None else {"content": {"application/json": {"schema": schema}}}
    responses: dict[str, Any] = {success: {"description": "Done.", **content}}
    for status, text in _REFUSALS.items():
        responses[status] = {
            "description": text,
            "content": {"application/json": {"schema": _ERROR}},
        }
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    if binary:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": {}}},
        }
    return operation


def _load_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["parameters"],
        "properties": {
            "parameters": {
                "type": "object",
                "required": ["config"],
                "properties": {"config": {"type": "string"}},
            }
        },
    }


def _schemas() -> dict[str, Any]:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"enum": [*NUMPY_OF, BYTES]},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
    }
    wanted = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "parameters": {"type": "object"},
        },
    }
    return {
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string"}},
        },
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string"},
                "parameters": {"type": "object"},
                "inputs": {"type": "array", "items": tensor},
                "outputs": {"type": "array", "items": wanted},
            },
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "outputs": {"type": "array", "items": tensor},
            },
        },
    }
