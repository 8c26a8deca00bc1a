"""gRPC messages to the codec's requests, and responses back."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from tierwise.serving.datatypes import BYTES, NUMPY_OF, datatype_of
from tierwise.serving.faults import BadRequest, TooLarge
from tierwise.serving.grpc.schema import message_class
from tierwise.serving.limits import Limits
from tierwise.serving.messages import InferRequest, InferResponse, RequestedOutput, WireTensor
from tierwise.serving.tensor_data import array_of_bytes, check_shape, from_binary, to_binary
from tierwise.serving.timing import TIMING

_Response = message_class("ModelInferResponse")
# Which typed field of InferTensorContents holds which datatype; half precision is raw only.
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


def decode_message(message: Any, limits: Limits) -> InferRequest:
    """A ``ModelInferRequest`` as the codec has it; raises :class:`BadRequest`, or `TooLarge`."""
    if max(len(message.inputs), len(message.outputs)) > limits.max_tensors:
        raise TooLarge(f"There are more than {limits.max_tensors} inputs or outputs.")
    names = [tensor.name for tensor in message.inputs]
    if len(set(names)) != len(names) or not all(names):
        raise BadRequest("Every input needs a name of its own.")
    wanted = []
    for output in message.outputs:
        count = (
            _value(output.parameters["classification"])
            if "classification" in (output.parameters)
            else 0
        )
        if not isinstance(count, int) or count < 0:
            raise BadRequest(f"'classification' is {count!r:.100}; write a number of classes.")
        wanted.append(RequestedOutput(output.name, binary=True, classification=count))
    return InferRequest(
        inputs=tuple(_inputs(message, limits)),
        outputs=tuple(wanted),
        parameters=_parameters(message.parameters),
        request_id=message.id,
        binary_default=True,
    )


def encode_message(response: InferResponse) -> Any:
    """A response as a ``ModelInferResponse`` with raw contents."""
    message = _Response(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.request_id,
    )
    for name, value in response.parameters.items():
        _set(message.parameters[name], value)
    if response.accounts:
        message.parameters[TIMING].string_param = f"[{response.accounts.decode()}]"
    for tensor in response.outputs:
        datatype = datatype_of(tensor.array.dtype)
        output = message.outputs.add(name=tensor.name, datatype=datatype)
        output.shape.extend(tensor.array.shape)
        for name, value in tensor.parameters.items():
            _set(output.parameters[name], value)
        message.raw_output_contents.append(bytes(to_binary(tensor.array)))
    return message


def _inputs(message: Any, limits: Limits) -> Iterator[WireTensor]:
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise BadRequest(
            f"There are {len(message.inputs)} inputs and {len(raw)} raw_input_contents: "
            "send all inputs raw, or none."
        )
    for index, tensor in enumerate(message.inputs):
        name, datatype = tensor.name, tensor.datatype
        shape = check_shape(list(tensor.shape), name, limits)
        if datatype != BYTES and datatype not in NUMPY_OF:
            raise BadRequest(
                f"Tensor {name!r:.100} has datatype {datatype!r:.100}; "
                f"the datatypes are {', '.join([*NUMPY_OF, BYTES])}."
            )
        if raw:
            array = from_binary(memoryview(raw[index]), name, datatype, shape)
        else:
            array = _typed(tensor, name, datatype, shape)
        yield WireTensor(name, array, _parameters(tensor.parameters))


def _typed(tensor: Any, name: str, datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    field = _CONTENTS.get(datatype)
    if field is None:
        raise BadRequest(f"Tensor {name!r:.100} is {datatype}: send it in raw_input_contents.")
    values = list(getattr(tensor.contents, field))
    if datatype == BYTES:
        return array_of_bytes(values, name, shape)
    try:
        data = np.array(values, NUMPY_OF[datatype]).data
    except OverflowError as error:
        raise BadRequest(f"Tensor {name!r:.100}: its contents do not fit {datatype}.") from error
    return from_binary(data.cast("B") if values else memoryview(b""), name, datatype, shape)


def _parameters(entries: Any) -> dict[str, Any]:
    return {name: _value(entry) for name, entry in entries.items()}


def _value(entry: Any) -> Any:
    chosen = entry.WhichOneof("parameter_choice")
    return None if chosen is None else getattr(entry, chosen)


def _set(entry: Any, value: object) -> None:
    """A parameter; what has no type of its own (lists, mappings) goes as JSON text."""
    kinds: Mapping[type, str] = {
        bool: "bool_param",
        int: "int64_param",
        str: "string_param",
        float: "double_param",
    }
    kind = kinds.get(type(value))
    if kind is None:
        entry.string_param = orjson.dumps(value).decode()
    else:
        setattr(entry, kind, value)
