"""JSON that strangers send: parsed strictly, within limits, as objects."""

from typing import Any

import numpy as np
import orjson

from tierwise.serving.faults import BadRequest, TooLarge
from tierwise.serving.limits import DEFAULT_LIMITS, Limits

Buffer = bytes | bytearray | memoryview


def parse_json(text: Buffer, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """A JSON object from a stranger; raises :class:`BadRequest` for anything else."""
    raw = bytes(text)
    if raw.count(b"[") + raw.count(b"{") > limits.max_json_depth:
        _check_depth(raw, limits.max_json_depth)
    try:
        value = orjson.loads(raw)
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    return mapping(value, "the body")


def _check_depth(raw: bytes, most: int) -> None:
    """Refuse deep nesting before the parser recurses. Brackets inside text count too."""
    codes = np.frombuffer(raw, np.uint8)
    # "[" is 0x5B and "{" is 0x7B; closing brackets are two more: bit 5 is all that differs.
    folded = codes & 0xDF
    steps = (folded == 0x5B).astype(np.int8) - (folded == 0x5D).astype(np.int8)
    depth = int(np.cumsum(steps, dtype=np.int64).max(initial=0))
    if depth > most:
        raise BadRequest(f"JSON is nested {depth} deep; at most {most} levels are accepted.")


def mapping(value: object, what: str) -> dict[str, Any]:
    """``value``, if it is an object; raises :class:`BadRequest`."""
    if not isinstance(value, dict):
        raise BadRequest(f"{what} must be a JSON object, not {type(value).__name__}.")
    return value


def objects(value: object, what: str, limits: Limits) -> list[dict[str, Any]]:
    """``value``, if it is a list of objects; raises :class:`BadRequest`, :class:`TooLarge`."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise BadRequest(f"'{what}' must be a list of objects.")
    if len(value) > limits.max_tensors:
        raise TooLarge(f"'{what}' has {len(value)} entries; at most {limits.max_tensors}.")
    return value
