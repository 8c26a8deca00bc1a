"""What the JSON part of a message tells of its tensors, and the tensors made of their data.

The JSON part is the same in every message of a kind and is remembered (``decoding.py``), so what
can be known without the data is worked out once: for numbers in binary, where each tensor lies.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tierwise.serving.datatypes import BYTES, NUMPY_OF
from tierwise.serving.faults import BadRequest
from tierwise.serving.limits import Limits
from tierwise.serving.messages import WireTensor
from tierwise.serving.strict_json import mapping
from tierwise.serving.tensor_data import check_shape, from_binary, from_json


class _Announced(NamedTuple):
    """A tensor as the JSON part tells of it; ``size``: of its raw data, ``None``: it is JSON."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Mapping[str, Any]
    size: object
    data: object


class Announcement(NamedTuple):
    """A message's tensors as its JSON part tells of them.

    Attributes:
        tensors: In the order of the raw data.
        layout: Name, type, shape, first byte in the raw data and parameters of each, where all are
            numbers in binary of the right size; else ``None``.
        size: Of all the raw data of the layout, in bytes.
    """

    tensors: tuple[_Announced, ...]
    layout: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int, Mapping[str, Any]], ...] | None
    size: int

    def read(self, binary: memoryview) -> tuple[WireTensor, ...]:
        """The tensors; raises :class:`BadRequest` where the data isn't what was announced."""
        if self.layout is None or len(binary) != self.size:
            return _read_tensors(self.tensors, binary)
        return tuple(
            [
                WireTensor(name, np.ndarray(shape, dtype, binary, start), parameters)
                for name, dtype, shape, start, parameters in self.layout
            ]
        )


def name_of(entry: Mapping[str, Any]) -> str:
    """The name of a tensor; raises :class:`BadRequest`."""
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(f"A tensor's 'name' is {name!r:.100}; write text.")
    return name


def announced(entries: Sequence[dict[str, Any]], what: str, limits: Limits) -> Announcement:
    """Read the list of a message's tensors.

    Args:
        entries: The list, as JSON.
        what: ``input`` or ``output``, for messages.
        limits: What is accepted.

    Raises:
        BadRequest: naming the tensor, what was received and what is required.
    """
    tensors: dict[str, _Announced] = {}
    for entry in entries:
        name = name_of(entry)
        if name in tensors:
            raise BadRequest(f"There are two {what}s named {name!r:.100}.")
        shape = check_shape(entry.get("shape"), name, limits)
        datatype = entry.get("datatype")
        if datatype != BYTES and (not isinstance(datatype, str) or datatype not in NUMPY_OF):
            raise BadRequest(
                f"Tensor {name!r:.100} has datatype {datatype!r:.100}; "
                f"the datatypes are {', '.join([*NUMPY_OF, BYTES])}."
            )
        parameters = dict(mapping(entry.get("parameters", {}), "a tensor's parameters"))
        size = parameters.pop("binary_data_size", None)
        if size is not None and "data" in entry:
            raise BadRequest(f"Tensor {name!r:.100} has both 'data' and binary_data_size.")
        data = entry.get("data")
        tensors[name] = _Announced(name, datatype, shape, parameters, size, data)
    return _laid_out(tuple(tensors.values()))


def _laid_out(tensors: tuple[_Announced, ...]) -> Announcement:
    layout, start = [], 0
    for name, datatype, shape, parameters, size, _ in tensors:
        dtype = NUMPY_OF.get(datatype)
        if dtype is None or type(size) is not int:
            return Announcement(tensors, None, 0)
        # An array of nothing has no buffer to be a view of.
        if size == 0 or size != math.prod(shape) * dtype.itemsize:
            return Announcement(tensors, None, 0)
        layout.append((name, dtype, shape, start, parameters))
        start += size
    return Announcement(tensors, tuple(layout), start)


def _read_tensors(announced: Iterable[_Announced], binary: memoryview) -> tuple[WireTensor, ...]:
    tensors: list[WireTensor] = []
    start, total = 0, len(binary)
    for tensor in announced:
        name, size = tensor.name, tensor.size
        if size is None:
            array = from_json(tensor.data, name, tensor.datatype, tensor.shape)
        else:
            if type(size) is not int or not 0 <= size <= total - start:
                raise BadRequest(
                    f"Tensor {name!r:.100} has binary_data_size {size!r:.100}, but "
                    f"{total - start} bytes are left of the body."
                )
            piece = binary[start : start + size]
            array = from_binary(piece, name, tensor.datatype, tensor.shape)
            start += size
        tensors.append(WireTensor(name, array, tensor.parameters))
    if start != total:
        raise BadRequest(
            f"{total - start} bytes follow the last tensor: the sizes given by "
            "binary_data_size must add up to the body."
        )
    return tuple(tensors)
