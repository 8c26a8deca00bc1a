"""What every section is made of: strict models, and quantities written with their unit."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from tierwise.errors import UserError
from tierwise.units import parse_bandwidth_bit_per_s, parse_duration_s, parse_size_bytes


class Section(BaseModel):
    """A part of the study file: immutable, and strict about misspelt keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def text(value: object) -> object:
    """A number as text, so that what checks the text can say what is wrong with it."""
    # `bandwidth: 10` is an int in YAML; the units' own message is better than "not a string".
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def listed(value: object) -> object:
    """A single value as a list of one."""
    return [text(entry) for entry in value] if isinstance(value, list) else [text(value)]


def or_one(schema: dict[str, Any]) -> None:
    """Let an editor accept a single value where a list may stand."""
    schema.pop("type")
    items = schema.pop("items")
    least = schema.pop("minItems", 1)
    schema["anyOf"] = [items, {"type": "array", "items": items, "minItems": least}]


def or_number(schema: dict[str, Any]) -> None:
    """Let an editor accept a bare number where text may stand."""
    schema["type"] = ["string", "number"]


def _bandwidth(value: str) -> str:
    if value != "unlimited":
        parse_bandwidth_bit_per_s(value)
    return value


def _duration(value: str) -> str:
    parse_duration_s(value)
    return value


def _size(value: str) -> str:
    parse_size_bytes(value)
    return value


def _raising(check: Any) -> Any:
    def validate(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not text with a unit.")  # noqa: TRY004 - pydantic's seam
        try:
            return check(value)
        except UserError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(lambda value: validate(text(value)))


Bandwidth = Annotated[str, _raising(_bandwidth)]
Duration = Annotated[str, _raising(_duration)]
Size = Annotated[str, _raising(_size)]
