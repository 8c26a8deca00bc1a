"""Bytes to requests and responses: Open Inference Protocol V2, binary extension included.

A body is a JSON header of ``json_bytes`` bytes followed by the raw data of the tensors that have a
``binary_data_size`` parameter, in order. Arrays are views of the body: nothing is copied, except
``BYTES`` elements.

Sources: https://github.com/kserve/open-inference-protocol (REST) and Triton Inference Server's
"Binary Tensor Data Extension".
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from tierwise.serving.announcement import Announcement, announced, name_of
from tierwise.serving.faults import BadRequest, Refusal, TooLarge
from tierwise.serving.limits import DEFAULT_LIMITS, Limits
from tierwise.serving.messages import InferRequest, InferResponse, RequestedOutput
from tierwise.serving.strict_json import Buffer, mapping, objects, parse_json
from tierwise.serving.timing import TIMING

# A client sends the same JSON part again and again, or one for each size of image.
_REMEMBERED, _REMEMBERED_BYTES = 128, 2048
# Where the part of an answer begins that is never the same.
_PARAMETERS = b',"parameters":'
_TIMED_ALONE = b'{"%b":[' % TIMING.encode()
_TIMED = _PARAMETERS + _TIMED_ALONE[:-1]


class _RequestHeader(NamedTuple):
    """The JSON part of a request, checked as far as it can be without the data."""

    inputs: Announcement
    outputs: tuple[RequestedOutput, ...]
    parameters: Mapping[str, Any]
    request_id: str
    binary_default: bool


class _ResponseHeader(NamedTuple):
    """The same of a response; ``entries``: its outputs as JSON, if all their data are binary."""

    outputs: Announcement
    parameters: Mapping[str, Any]
    model_name: str
    model_version: str
    request_id: str
    entries: bytes | None

    def response(self, binary: memoryview) -> InferResponse:
        """The whole of it; raises :class:`BadRequest` where the data isn't what was announced."""
        wire = None if self.entries is None else (self.entries, binary)
        return InferResponse(self.outputs.read(binary), *self[1:-1], wire)


class Told(NamedTuple):
    """A response's parameters.

    Attributes:
        text: They as JSON, where they begin with the timing.
        limits: What is accepted of them.
        known: They, where they have been read.
    """

    text: bytes
    limits: Limits
    known: Mapping[str, Any] | None

    def read(self) -> Mapping[str, Any]:
        """They; raises :class:`BadRequest`, :class:`TooLarge`."""
        return parse_json(self.text, self.limits) if self.known is None else self.known

    def timing_alone(self) -> bytes | None:
        """The entries of the timing as they came, if there is nothing else; they are not read."""
        begin, end = _TIMED_ALONE, b"}]}"
        if self.text.startswith(begin) and self.text.endswith(end):
            return self.text[len(begin) : 1 - len(end)]
        return None


def decode_request(
    body: Buffer, json_bytes: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> InferRequest:
    """Decode the body of an inference request.

    Args:
        body: The whole body.
        json_bytes: Length of its JSON part (``Inference-Header-Content-Length``); ``None``: all.
        limits: What is accepted.

    Raises:
        BadRequest: naming the field or the tensor, what was received and what is required.
        TooLarge: over a limit.
    """
    text, binary = _split(body, json_bytes, limits)
    known = json_bytes is not None and json_bytes <= _REMEMBERED_BYTES
    header = (_remembered_header if known else _read_header)(bytes(text), limits)
    return InferRequest(header.inputs.read(binary), *header[1:])


def decode_ahead(
    body: memoryview, present: int, json_bytes: int | None, limits: Limits
) -> InferRequest | None:
    """Decode a request whose raw data is still on its way into ``body``.

    Its arrays are views of what isn't there yet. ``None``: it can't be read before all of it has
    come, or is wrong, which :func:`decode_request` will say.

    Args:
        body: Room for the whole body.
        present: How many of its bytes have come.
        json_bytes: Length of its JSON part.
        limits: What is accepted.
    """
    if json_bytes is None or not 0 < json_bytes <= min(present, _REMEMBERED_BYTES):
        return None
    try:
        header = _remembered_header(bytes(body[:json_bytes]), limits)
        if header.inputs.layout is None:
            return None
        return InferRequest(header.inputs.read(body[json_bytes:]), *header[1:])
    except Refusal:
        return None


def _read_header(text: bytes, limits: Limits) -> _RequestHeader:
    header = parse_json(text, limits)
    parameters = mapping(header.get("parameters", {}), "parameters")
    wanted = []
    for entry in objects(header.get("outputs", []), "outputs", limits):
        options = mapping(entry.get("parameters", {}), "outputs[].parameters")
        count = options.get("classification", 0)
        if not isinstance(count, int) or count < 0:
            raise BadRequest(f"'classification' is {count!r:.100}; write a number of classes.")
        default = parameters.get("binary_data_output", False)
        binary = options.get("binary_data", default) is True
        wanted.append(RequestedOutput(name_of(entry), binary, classification=count))
    entries = objects(header.get("inputs"), "inputs", limits)
    request_id = header.get("id", "")
    if not isinstance(request_id, str):
        raise BadRequest(f"'id' is {request_id!r:.100}; write text.")
    return _RequestHeader(
        inputs=announced(entries, "input", limits),
        outputs=tuple(wanted),
        parameters=parameters,
        request_id=request_id,
        binary_default=parameters.get("binary_data_output") is True,
    )


_remembered_header = lru_cache(_REMEMBERED)(_read_header)


def decode_outputs(
    body: Buffer, json_bytes: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> tuple[InferResponse, Told]:
    """Decode a response, but read its parameters, where it tells its timing, only when asked.

    What a server says of its tensors is the same every time; what it took isn't.

    Raises:
        BadRequest, TooLarge: as :func:`decode_request`; so may :meth:`Told.read`.
    """
    text, binary = _split(body, json_bytes, limits)
    raw = bytes(text)
    at = raw.find(_TIMED, 0, _REMEMBERED_BYTES)
    if at >= 0 and raw.endswith(b"}"):
        try:
            # An object where it is closed here, so what is cut off is a member of it.
            header = _remembered_response(raw[:at] + b"}", limits)
        except Refusal:
            pass  # the marker stood somewhere else
        else:
            return header.response(binary), Told(raw[at + len(_PARAMETERS) : -1], limits, None)
    header = _read_response(raw, limits)
    return header.response(binary), Told(b"", limits, header.parameters)


def _read_response(text: bytes, limits: Limits) -> _ResponseHeader:
    header = _present(parse_json(text, limits))
    entries = [_present(entry) for entry in objects(header.get("outputs"), "outputs", limits)]
    outputs = announced(entries, "output", limits)
    in_binary = all(output.size is not None for output in outputs.tensors) and bool(entries)
    return _ResponseHeader(
        outputs=outputs,
        parameters=mapping(header.get("parameters", {}), "parameters"),
        model_name=str(header.get("model_name", "")),
        model_version=str(header.get("model_version", "")),
        request_id=str(header.get("id", "")),
        entries=orjson.dumps(entries) if in_binary else None,
    )


_remembered_response = lru_cache(_REMEMBERED)(_read_response)


def _split(body: Buffer, json_bytes: int | None, limits: Limits) -> tuple[memoryview, memoryview]:
    view = memoryview(body).cast("B")
    length = len(view) if json_bytes is None else json_bytes
    if not 0 < length <= len(view):
        raise BadRequest(
            f"Inference-Header-Content-Length is {length}, the body has {len(view)} bytes: "
            "it must be at least 1 and at most the length of the body."
        )
    if length > limits.max_json_bytes:
        raise TooLarge(
            f"The JSON part has {length} bytes, at most {limits.max_json_bytes} are accepted. "
            "Send tensors in binary (parameter binary_data_size)."
        )
    return view[:length], view[length:]


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that are null: what isn't there, as some servers say it (KServe's own)."""
    return {name: value for name, value in members.items() if value is not None}
