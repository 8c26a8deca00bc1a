"""Bytes to tensors and back: Open Inference Protocol V2 with the binary tensor extension.

A body is a JSON header of ``json_bytes`` bytes followed by the raw data of the tensors that have a
``binary_data_size`` parameter, in order. Arrays are views of the body: nothing is copied, except
``BYTES`` elements. Encoding returns a list of buffers for a gathering write, for the same reason.

Sources: https://github.com/kserve/open-inference-protocol (REST) and Triton Inference Server's
"Binary Tensor Data Extension".
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tierwise.serving.datatypes import BYTES, NUMPY_OF, datatype_of
from tierwise.serving.faults import BadRequest, TooLarge
from tierwise.serving.limits import DEFAULT_LIMITS, Limits

Buffer = bytes | bytearray | memoryview
# One encoder for all: making one costs more than a small header does.
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class WireTensor:
    """One tensor of a request or a response.

    Attributes:
        name: Its name.
        array: Its data, in its shape; ``BYTES`` is an object array of :class:`bytes`.
        parameters: Further parameters, without those of the binary extension.
    """

    name: str
    array: np.ndarray
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the client asks for.

    Attributes:
        name: Its name.
        binary: Whether its data is wanted in binary.
        classification: Triton's classification extension: the top n as text; 0: not asked for.
    """

    name: str
    binary: bool
    classification: int = 0


@dataclass(frozen=True)
class InferRequest:
    """A decoded inference request.

    Attributes:
        inputs: In the order of the body.
        outputs: What is asked for; empty: everything.
        parameters: Of the request.
        request_id: The client's own id, or ``""``.
        binary_default: Whether outputs not named in ``outputs`` are wanted in binary.
    """

    inputs: tuple[WireTensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""
    binary_default: bool = False


@dataclass(frozen=True)
class InferResponse:
    """A decoded inference response."""

    outputs: tuple[WireTensor, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model_name: str = ""
    model_version: str = ""
    request_id: str = ""


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
    header, binary = _split(body, json_bytes, limits)
    parameters = _mapping(header.get("parameters", {}), "parameters")
    wanted = []
    for entry in _list(header.get("outputs", []), "outputs", limits):
        options = _mapping(entry.get("parameters", {}), "outputs[].parameters")
        count = options.get("classification", 0)
        if not isinstance(count, int) or count < 0:
            raise BadRequest(f"'classification' is {count!r:.100}; write a number of classes.")
        default = parameters.get("binary_data_output", False)
        wanted.append(
            RequestedOutput(
                _name(entry), options.get("binary_data", default) is True, classification=count
            )
        )
    entries = _list(header.get("inputs"), "inputs", limits)
    request_id = header.get("id", "")
    if not isinstance(request_id, str):
        raise BadRequest(f"'id' is {request_id!r:.100}; write text.")
    return InferRequest(
        inputs=_tensors(entries, binary, "input", limits),
        outputs=tuple(wanted),
        parameters=parameters,
        request_id=request_id,
        binary_default=parameters.get("binary_data_output") is True,
    )


def decode_response(
    body: Buffer, json_bytes: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> InferResponse:
    """Decode the body of an inference response; raises as :func:`decode_request`."""
    header, binary = _split(body, json_bytes, limits)
    entries = _list(header.get("outputs"), "outputs", limits)
    return InferResponse(
        outputs=_tensors(entries, binary, "output", limits),
        parameters=_mapping(header.get("parameters", {}), "parameters"),
        model_name=str(header.get("model_name", "")),
        model_version=str(header.get("model_version", "")),
        request_id=str(header.get("id", "")),
    )


def encode_request(
    inputs: Iterable[WireTensor],
    parameters: Mapping[str, Any] | None = None,
    request_id: str = "",
) -> tuple[list[Buffer], int]:
    """Encode a request, every tensor in binary and every output asked for in binary.

    Returns:
        The buffers of the body in order, and the length of the JSON part.
    """
    entries, blobs = _encode_tensors((tensor, True) for tensor in inputs)
    header: dict[str, Any] = {
        "parameters": {"binary_data_output": True, **(parameters or {})},
        "inputs": entries,
    }
    if request_id:
        header["id"] = request_id
    text = _JSON.encode(header).encode()
    return [text, *blobs], len(text)


def encode_json_request(
    inputs: Iterable[WireTensor],
    parameters: Mapping[str, Any] | None = None,
    request_id: str = "",
) -> bytes:
    """Encode a request as JSON alone, for servers without the binary extension.

    Raises:
        BadRequest: a tensor holds NaN or infinity, which JSON cannot carry.
    """
    entries, _ = _encode_tensors((tensor, False) for tensor in inputs)
    header: dict[str, Any] = {"inputs": entries}
    if parameters:
        header["parameters"] = dict(parameters)
    if request_id:
        header["id"] = request_id
    try:
        return _JSON.encode(header).encode()
    except ValueError as error:
        raise BadRequest(
            "A tensor holds NaN or infinity, which JSON cannot carry, and the next server takes "
            "no binary tensors."
        ) from error


def encode_response(
    response: InferResponse, wanted: Mapping[str, bool], *, binary_default: bool
) -> tuple[list[Buffer], int | None]:
    """Encode a response.

    Args:
        response: What to send.
        wanted: Whether an output is wanted in binary, by name.
        binary_default: The same for outputs that aren't in ``wanted``.

    Returns:
        The buffers of the body in order, and the length of the JSON part, or ``None`` where the
        body is JSON alone.

    Raises:
        BadRequest: an output that JSON cannot hold (NaN, infinity) was not asked for in binary.
    """
    entries, blobs = _encode_tensors(
        (tensor, wanted.get(tensor.name, binary_default)) for tensor in response.outputs
    )
    header: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "outputs": entries,
    }
    if response.request_id:
        header["id"] = response.request_id
    if response.parameters:
        header["parameters"] = dict(response.parameters)
    try:
        text = _JSON.encode(header).encode()
    except ValueError as error:
        raise BadRequest(
            "An output holds NaN or infinity, which JSON cannot carry. "
            'Ask for it in binary: "parameters": {"binary_data_output": true}.'
        ) from error
    return [text, *blobs], len(text) if blobs else None


def body_bytes(buffers: Sequence[Buffer]) -> int:
    """Length of a body given as a list of buffers."""
    return sum(len(buffer) for buffer in buffers)


def _split(
    body: Buffer, json_bytes: int | None, limits: Limits
) -> tuple[dict[str, Any], memoryview]:
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
    return parse_json(view[:length], limits), view[length:]


def parse_json(text: Buffer, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """A JSON object from a stranger; raises :class:`BadRequest` for anything else."""
    raw = bytes(text)
    if raw.count(b"[") + raw.count(b"{") > limits.max_json_depth:
        _check_depth(raw, limits.max_json_depth)
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    return _mapping(value, "the body")


def _check_depth(raw: bytes, most: int) -> None:
    """Refuse deep nesting before the parser recurses. Brackets inside text count too."""
    codes = np.frombuffer(raw, np.uint8)
    # "[" is 0x5B and "{" is 0x7B; closing brackets are two more: bit 5 is all that differs.
    folded = codes & 0xDF
    steps = (folded == 0x5B).astype(np.int8) - (folded == 0x5D).astype(np.int8)
    depth = int(np.cumsum(steps, dtype=np.int64).max(initial=0))
    if depth > most:
        raise BadRequest(f"JSON is nested {depth} deep; at most {most} levels are accepted.")


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{what} must be a JSON object, not {type(value).__name__}.")
    return value


def _list(value: object, what: str, limits: Limits) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise BadRequest(f"'{what}' must be a list of objects.")
    if len(value) > limits.max_tensors:
        raise TooLarge(f"'{what}' has {len(value)} entries; at most {limits.max_tensors}.")
    return value


def _name(entry: Mapping[str, Any]) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(f"A tensor's 'name' is {name!r:.100}; write text.")
    return name


def check_shape(shape: object, name: str, limits: Limits) -> tuple[int, ...]:
    """The shape that a stranger gives a tensor; raises :class:`BadRequest`."""
    if not isinstance(shape, list) or not all(
        isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**40 for size in shape
    ):
        raise BadRequest(
            f"Tensor {name!r:.100} has shape {shape!r:.100}; write a list of sizes of 0 or more."
        )
    if len(shape) > limits.max_dimensions:
        raise BadRequest(
            f"Tensor {name!r:.100} has {len(shape)} dimensions; at most {limits.max_dimensions}."
        )
    return tuple(shape)


def _tensors(
    entries: Sequence[dict[str, Any]], binary: memoryview, what: str, limits: Limits
) -> tuple[WireTensor, ...]:
    tensors: list[WireTensor] = []
    names: set[str] = set()
    start = 0
    for entry in entries:
        name = _name(entry)
        if name in names:
            raise BadRequest(f"There are two {what}s named {name!r:.100}.")
        names.add(name)
        shape = check_shape(entry.get("shape"), name, limits)
        datatype = entry.get("datatype")
        if datatype != BYTES and (not isinstance(datatype, str) or datatype not in NUMPY_OF):
            raise BadRequest(
                f"Tensor {name!r:.100} has datatype {datatype!r:.100}; "
                f"the datatypes are {', '.join([*NUMPY_OF, BYTES])}."
            )
        parameters = dict(_mapping(entry.get("parameters", {}), "a tensor's parameters"))
        size = parameters.pop("binary_data_size", None)
        if size is None:
            array = _from_json(entry.get("data"), name, datatype, shape)
        else:
            if "data" in entry:
                raise BadRequest(f"Tensor {name!r:.100} has both 'data' and binary_data_size.")
            if not isinstance(size, int) or not 0 <= size <= len(binary) - start:
                raise BadRequest(
                    f"Tensor {name!r:.100} has binary_data_size {size!r:.100}, but "
                    f"{len(binary) - start} bytes are left of the body."
                )
            array = from_binary(binary[start : start + size], name, datatype, shape)
            start += size
        tensors.append(WireTensor(name, array, parameters))
    if start != len(binary):
        raise BadRequest(
            f"{len(binary) - start} bytes follow the last tensor: the sizes given by "
            "binary_data_size must add up to the body."
        )
    return tuple(tensors)


def from_binary(data: memoryview, name: str, datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of raw little-endian data, a view of it; raises :class:`BadRequest`."""
    elements = math.prod(shape)
    if datatype == BYTES:
        return array_of_bytes(list(_split_bytes(data, name)), name, shape)
    dtype = NUMPY_OF[datatype]
    if elements * dtype.itemsize != len(data):
        raise BadRequest(
            f"Tensor {name!r:.100} of shape {list(shape)} and type {datatype} takes "
            f"{elements * dtype.itemsize} bytes, but {len(data)} were sent."
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _split_bytes(data: memoryview, name: str) -> Iterable[bytes]:
    start = 0
    while start < len(data):
        if start + _LENGTH.size > len(data):
            raise BadRequest(f"Tensor {name!r:.100}: {len(data) - start} stray bytes at its end.")
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if length > len(data) - start:
            raise BadRequest(
                f"Tensor {name!r:.100}: an element of {length} bytes, but {len(data) - start} "
                "are left."
            )
        yield bytes(data[start : start + length])
        start += length


def array_of_bytes(elements: list[bytes], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A ``BYTES`` tensor of its elements; raises :class:`BadRequest`."""
    if len(elements) != math.prod(shape):
        raise BadRequest(
            f"Tensor {name!r:.100} of shape {list(shape)} has {math.prod(shape)} elements, but "
            f"{len(elements)} were sent."
        )
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


def _from_json(data: object, name: str, datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(data, list):
        raise BadRequest(f"Tensor {name!r:.100} has neither 'data' nor binary_data_size.")
    if datatype == BYTES:
        flat = _flatten(data)
        if not all(isinstance(element, str) for element in flat):
            raise BadRequest(f"Tensor {name!r:.100} is BYTES: its data must be text.")
        return array_of_bytes([str(element).encode() for element in flat], name, shape)
    dtype = NUMPY_OF[datatype]
    # The protocol has no JSON for half precision; numbers are accepted all the same.
    parsed = np.dtype(np.float32) if datatype in {"FP16", "BF16"} else dtype
    kinds = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}.get(dtype.kind, "iuf")
    try:
        values = np.asarray(data)
        array = np.asarray(data, dtype=parsed).astype(dtype, copy=False)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRequest(
            f"Tensor {name!r:.100}: its data cannot be read as {datatype}: {error}."
        ) from error
    exact = dtype.kind == "f" or np.array_equal(array, values)
    if values.size and (values.dtype.kind not in kinds or not exact):
        raise BadRequest(
            f"Tensor {name!r:.100} is {datatype}, but its data are {values.dtype.name} or do not "
            "fit that type."
        )
    if array.size != math.prod(shape):
        raise BadRequest(
            f"Tensor {name!r:.100} of shape {list(shape)} has {math.prod(shape)} elements, but "
            f"{array.size} were sent."
        )
    return array.reshape(shape)


def _flatten(data: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for element in data:
        if isinstance(element, list):
            flat.extend(_flatten(element))
        else:
            flat.append(element)
    return flat


def _encode_tensors(
    tensors: Iterable[tuple[WireTensor, bool]],
) -> tuple[list[dict[str, Any]], list[Buffer]]:
    entries: list[dict[str, Any]] = []
    blobs: list[Buffer] = []
    for tensor, binary in tensors:
        datatype = datatype_of(tensor.array.dtype)
        entry: dict[str, Any] = {
            "name": tensor.name,
            "datatype": datatype,
            "shape": list(tensor.array.shape),
        }
        parameters = dict(tensor.parameters)
        if binary:
            blob = to_binary(tensor.array)
            parameters["binary_data_size"] = len(blob)
            blobs.append(blob)
        else:
            entry["data"] = _to_json(tensor.array, datatype)
        if parameters:
            entry["parameters"] = parameters
        entries.append(entry)
    return entries, blobs


def to_binary(array: np.ndarray) -> Buffer:
    """The raw little-endian data of a tensor: a view where it is contiguous."""
    if array.dtype.kind in "OSU":
        parts: list[bytes] = []
        for element in array.ravel():
            raw = element if isinstance(element, bytes) else str(element).encode()
            parts += [_LENGTH.pack(len(raw)), raw]
        return b"".join(parts)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    # A view of bytes: memoryview itself cannot cast bfloat16 or empty arrays.
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _to_json(array: np.ndarray, datatype: str) -> list[Any]:
    if datatype == BYTES:
        return [
            element.decode("utf-8", "replace") if isinstance(element, bytes) else str(element)
            for element in array.ravel()
        ]
    if datatype in {"FP16", "BF16"}:
        array = array.astype(np.float32)
    return list(array.ravel().tolist())
