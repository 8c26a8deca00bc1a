"""Inference requests and responses, as they are between bytes and sessions."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

_NONE: Mapping[str, Any] = MappingProxyType({})


# Tuples, because a hop makes a dozen of them and a frozen dataclass takes three times as long.
class WireTensor(NamedTuple):
    """One tensor of a request or a response.

    Attributes:
        name: Its name.
        array: Its data, in its shape; ``BYTES`` is an object array of :class:`bytes`.
        parameters: Further parameters, without those of the binary extension.
    """

    name: str
    array: np.ndarray
    parameters: Mapping[str, Any] = _NONE


class RequestedOutput(NamedTuple):
    """An output that the client asks for.

    Attributes:
        name: Its name.
        binary: Whether its data is wanted in binary.
        classification: Triton's classification extension: the top n as text; 0: not asked for.
    """

    name: str
    binary: bool
    classification: int = 0


class InferRequest(NamedTuple):
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
    parameters: Mapping[str, Any] = _NONE
    request_id: str = ""
    binary_default: bool = False


class InferResponse(NamedTuple):
    """A decoded inference response.

    Attributes:
        outputs: In the order of the body.
        parameters: Of the response.
        model_name: Who answered.
        model_version: Its version.
        request_id: The client's own id, or ``""``.
        wire: The outputs as they came, all in binary: their list as JSON and their data; ``None``
            where they were made here, or came otherwise. They can leave again as they are.
        accounts: What the tiers say of their time, for the client: JSON, without the list's
            brackets. It leaves as a parameter.
    """

    outputs: tuple[WireTensor, ...]
    parameters: Mapping[str, Any] = _NONE
    model_name: str = ""
    model_version: str = ""
    request_id: str = ""
    wire: tuple[bytes, memoryview] | None = None
    accounts: bytes = b""
