"""Requests and responses to bytes: Open Inference Protocol V2, binary extension included.

Encoding returns a list of buffers for a gathering write, of which tensors are views. What the JSON
part says of a tensor is the same in every request, so it is made once.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from tierwise.serving.datatypes import datatype_of
from tierwise.serving.faults import BadRequest
from tierwise.serving.messages import InferResponse, WireTensor
from tierwise.serving.strict_json import Buffer
from tierwise.serving.tensor_data import to_binary, to_json
from tierwise.serving.timing import TIMING

# Names and values of an HTTP request's further headers.
Headers = tuple[tuple[str, str], ...]
JSON_HEADERS: Headers = (("Content-Type", "application/json"),)

_TIMING = TIMING.encode()
# A model's tensors, or one for each size of image.
_REMEMBERED = 128


def encode_request(
    inputs: Sequence[WireTensor],
    parameters: Mapping[str, Any] | None = None,
    request_id: str = "",
) -> tuple[list[Buffer], Headers]:
    """Encode a request, every tensor in binary and every output asked for in binary.

    Returns:
        The buffers of the body in order, and the headers that go with it.
    """
    blobs = [to_binary(tensor.array) for tensor in inputs]
    entries = b"[%b]" % b",".join(map(_binary_entry, inputs, blobs))
    options = orjson.dumps({"binary_data_output": True, **(parameters or {})})
    name = b',"id":' + orjson.dumps(request_id) if request_id else b""
    text = b'{"parameters":%b,"inputs":%b%b}' % (options, entries, name)
    return [text, *blobs], _binary_headers(len(text))


@lru_cache(_REMEMBERED)
def _binary_headers(json_bytes: int) -> Headers:
    return (
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", str(json_bytes)),
    )


def encode_json_request(
    inputs: Iterable[WireTensor],
    parameters: Mapping[str, Any] | None = None,
    request_id: str = "",
) -> tuple[list[Buffer], Headers]:
    """Encode a request as JSON alone, for servers without the binary extension.

    Returns:
        As :func:`encode_request`.

    Raises:
        BadRequest: a tensor holds NaN or infinity, which JSON cannot carry.
    """
    try:
        entries, _ = _encode_tensors((tensor, False) for tensor in inputs)
    except ValueError as error:
        raise BadRequest(
            "A tensor holds NaN or infinity, which JSON cannot carry, and the next server takes "
            "no binary tensors."
        ) from error
    options = b',"parameters":' + orjson.dumps(dict(parameters)) if parameters else b""
    name = b',"id":' + orjson.dumps(request_id) if request_id else b""
    return [b'{"inputs":%b%b%b}' % (entries, options, name)], JSON_HEADERS


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
    blobs: Sequence[Buffer]
    try:
        if response.wire is not None and binary_default and not wanted:
            entries, blobs = response.wire[0], response.wire[1:]
        else:
            entries, blobs = _encode_tensors(
                (tensor, wanted.get(tensor.name, binary_default)) for tensor in response.outputs
            )
    except ValueError as error:
        raise BadRequest(
            "An output holds NaN or infinity, which JSON cannot carry. "
            'Ask for it in binary: "parameters": {"binary_data_output": true}.'
        ) from error
    text = b"%b%b%b%b}" % (
        _begin_response(response.model_name, response.model_version),
        entries,
        b',"id":' + orjson.dumps(response.request_id) if response.request_id else b"",
        _response_parameters(response.parameters, response.accounts),
    )
    return [text, *blobs], len(text) if blobs else None


def _response_parameters(parameters: Mapping[str, Any], accounts: bytes) -> bytes:
    """They come last in a response, and in them the accounts first: :mod:`.decoding` knows it."""
    others = orjson.dumps(dict(parameters)) if parameters else b"{}"
    if not accounts:
        return b',"parameters":%b' % others if parameters else b""
    more = b",%b" % others[1:-1] if parameters else b""
    return b',"parameters":{"%b":[%b]%b}' % (_TIMING, accounts, more)


@lru_cache(_REMEMBERED)
def _begin_response(model_name: str, model_version: str) -> bytes:
    names = orjson.dumps(model_name), orjson.dumps(model_version)
    return b'{"model_name":%b,"model_version":%b,"outputs":' % names


def body_bytes(buffers: Sequence[Buffer]) -> int:
    """Length of a body given as a list of buffers."""
    return sum(map(len, buffers))


def _encode_tensors(
    tensors: Iterable[tuple[WireTensor, bool]],
) -> tuple[bytes, list[Buffer]]:
    """The list of tensors as JSON, and the raw data of those that go in binary."""
    entries: list[bytes] = []
    blobs: list[Buffer] = []
    for tensor, binary in tensors:
        name, array, parameters = tensor
        if not binary:
            entries.append(_entry(name, array.dtype, array.shape, parameters, to_json(array)))
            continue
        blob = to_binary(array)
        blobs.append(blob)
        entries.append(_binary_entry(tensor, blob))
    return b"[%b]" % b",".join(entries), blobs


def _binary_entry(tensor: WireTensor, blob: Buffer) -> bytes:
    name, array, parameters = tensor
    if not parameters:
        return _plain_entry(name, array.dtype, array.shape, len(blob))
    sized = {**parameters, "binary_data_size": len(blob)}
    return _entry(name, array.dtype, array.shape, sized)


@lru_cache(_REMEMBERED)
def _plain_entry(
    name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...], size: int
) -> bytes:
    return _entry(name, dtype, shape, {"binary_data_size": size})


def _entry(
    name: str,
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    parameters: Mapping[str, Any],
    data: list[Any] | None = None,
) -> bytes:
    entry: dict[str, Any] = {"name": name, "datatype": datatype_of(dtype), "shape": shape}
    if data is not None:
        entry["data"] = data
    if parameters:
        entry["parameters"] = dict(parameters)
    return orjson.dumps(entry)
