"""How the tensors that cross between two tiers are encoded on the wire.

What leaves says itself how it is encoded, in the tensor's own parameters, so a stage needs no
configuration to read what arrives: ``tierwise_encoding`` (the text of an
:class:`~tierwise.operators.encoding.Encoding`), ``tierwise_shape`` and ``tierwise_datatype``.
Tensors that cross as they are carry none of these: plain protocol, for any server.
"""

import math
from collections.abc import Mapping

import numpy as np

from tierwise.errors import TierwiseError
from tierwise.operators.encoding import NONE, Encoding, decode, encode
from tierwise.serving.datatypes import NUMPY_OF, datatype_of
from tierwise.serving.faults import BadRequest, TooLarge
from tierwise.serving.limits import DEFAULT_LIMITS
from tierwise.serving.messages import WireTensor

_ENCODING, _SHAPE, _DATATYPE = "tierwise_encoding", "tierwise_shape", "tierwise_datatype"


def parse_encodings(encodings: Mapping[str, str]) -> dict[str, Encoding]:
    """The encodings of a stage, by tensor name; raises :class:`BadRequest` for an unknown one."""
    parsed = {}
    for name, text in encodings.items():
        try:
            parsed[name] = Encoding.parse(text)
        except TierwiseError as error:
            raise BadRequest(f"Tensor {name!r:.100}: {error}") from error
    return parsed


def encode_boundary(
    tensors: Mapping[str, np.ndarray], encodings: Mapping[str, Encoding]
) -> list[WireTensor]:
    """Tensors as they leave a tier; those without an encoding leave as they are.

    Raises:
        BadRequest: an encoding doesn't fit its tensor.
    """
    return [_encode(name, array, encodings.get(name, NONE)) for name, array in tensors.items()]


def _encode(name: str, array: np.ndarray, encoding: Encoding) -> WireTensor:
    if encoding == NONE:
        return WireTensor(name, array)
    parameters = {
        _ENCODING: str(encoding),
        _SHAPE: list(array.shape),
        _DATATYPE: datatype_of(array.dtype),
    }
    try:
        return WireTensor(name, encode(array, encoding), parameters)
    except TierwiseError as error:
        raise BadRequest(f"Tensor {name!r:.100}: {error}") from error


def decode_boundary(tensor: WireTensor) -> np.ndarray:
    """A tensor as it arrives, to what the segment takes.

    Raises:
        BadRequest: what it says of itself is wrong.
        TooLarge: it would be larger than any body may be (a compressed tensor of a stranger).
    """
    text = tensor.parameters.get(_ENCODING)
    if text is None:
        return tensor.array
    shape, datatype = tensor.parameters.get(_SHAPE), tensor.parameters.get(_DATATYPE)
    named = f"Tensor {tensor.name!r:.100}"
    if (
        not isinstance(text, str)
        or not isinstance(shape, list)
        or not all(type(size) is int and size >= 0 for size in shape)
        or not isinstance(datatype, str)
        or datatype not in NUMPY_OF
    ):
        raise BadRequest(f"{named}: its {_ENCODING}, {_SHAPE} or {_DATATYPE} cannot be used.")
    dtype = NUMPY_OF[datatype]
    if math.prod(shape) * dtype.itemsize > DEFAULT_LIMITS.max_body_bytes:
        raise TooLarge(f"{named} would take more than {DEFAULT_LIMITS.max_body_bytes} bytes.")
    try:
        return decode(tensor.array, Encoding.parse(text), shape, dtype)
    except TierwiseError as error:
        raise BadRequest(f"{named}: {error}") from error
