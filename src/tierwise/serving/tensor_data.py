"""The data of one tensor, as raw bytes and as JSON, to arrays and back.

Source: https://github.com/kserve/open-inference-protocol (REST), "Tensor Data", and Triton
Inference Server's "Binary Tensor Data Extension".
"""

import math
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from tierwise.serving.datatypes import BYTES, NUMPY_OF, datatype_of
from tierwise.serving.faults import BadRequest
from tierwise.serving.limits import Limits
from tierwise.serving.strict_json import Buffer

_LENGTH = struct.Struct("<I")
# What a memoryview knows too.
_PLAIN = frozenset(NUMPY_OF.values()) - {NUMPY_OF["BF16"]}


def check_shape(shape: object, name: str, limits: Limits) -> tuple[int, ...]:
    """The shape that a stranger gives a tensor; raises :class:`BadRequest`."""
    if (
        not isinstance(shape, list)
        or not set(map(type, shape)) <= {int}
        or (shape and not 0 <= min(shape) <= max(shape) < 2**40)
    ):
        raise BadRequest(
            f"Tensor {name!r:.100} has shape {shape!r:.100}; write a list of sizes of 0 or more."
        )
    if len(shape) > limits.max_dimensions:
        raise BadRequest(
            f"Tensor {name!r:.100} has {len(shape)} dimensions; at most {limits.max_dimensions}."
        )
    return tuple(shape)


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


def from_json(data: object, name: str, datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of its JSON data, flat or nested; raises :class:`BadRequest`."""
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
    if dtype == np.uint64 and all(type(element) is int for element in _flatten(data)):
        values = array  # numpy makes floats of integers below and above 2^63 together
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


def to_binary(array: np.ndarray) -> Buffer:
    """The raw little-endian data of a tensor: a view where it is contiguous."""
    # One step for plain numbers: after a pause every further one of NumPy's finds cold caches.
    if array.dtype in _PLAIN:
        try:
            return array.data.cast("B")
        except TypeError:  # empty, or not contiguous
            pass
    return _to_binary(array)


def _to_binary(array: np.ndarray) -> Buffer:
    """Of any array: text, bfloat16, big-endian, empty and non-contiguous ones too."""
    if array.dtype.kind in "OSU":
        parts: list[bytes] = []
        for element in array.ravel():
            raw = element if isinstance(element, bytes) else str(element).encode()
            parts += [_LENGTH.pack(len(raw)), raw]
        return b"".join(parts)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    flat = array.ravel()
    return (flat if flat.dtype == np.uint8 else flat.view(np.uint8)).data


def to_json(array: np.ndarray) -> list[Any]:
    """A tensor's JSON data, flat; raises :class:`ValueError` for what JSON cannot carry."""
    datatype = datatype_of(array.dtype)
    if datatype == BYTES:
        return [
            element.decode("utf-8", "replace") if isinstance(element, bytes) else str(element)
            for element in array.ravel()
        ]
    if datatype in {"FP16", "BF16"}:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("NaN or infinity")
    return list(array.ravel().tolist())
