"""The messages that are built in code, against those that Triton's client was generated from."""

import numpy as np
import pytest

from tierwise.serving.faults import BadRequest, TooLarge
from tierwise.serving.grpc.convert import decode_message, encode_message
from tierwise.serving.grpc.schema import PACKAGE, POOL, message_class
from tierwise.serving.limits import Limits
from tierwise.serving.messages import InferResponse, WireTensor

theirs = pytest.importorskip("tritonclient.grpc.service_pb2", reason="pip install 'tierwise[dev]'")
config = pytest.importorskip("tritonclient.grpc.model_config_pb2")

LIMITS = Limits(max_tensors=4)
Request = message_class("ModelInferRequest")


def _fields(ours, reference, seen):
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    assert ours.full_name == reference.full_name
    for field in ours.fields:
        their = reference.fields_by_name[field.name]
        where = f"{ours.full_name}.{field.name}"
        assert (field.number, field.type) == (their.number, their.type), where
        assert field.is_repeated == their.is_repeated, where
        assert (field.containing_oneof is None) == (their.containing_oneof is None), where
        if field.message_type is not None:
            _fields(field.message_type, their.message_type, seen)
        if field.enum_type is not None:
            values = {value.name: value.number for value in field.enum_type.values}
            assert values == {v.name: v.number for v in their.enum_type.values}


def test_every_message_has_the_published_numbers_and_types():
    seen: set[str] = set()
    names = POOL.FindFileByName("tierwise/open_inference.proto").message_types_by_name
    for name, ours in names.items():
        module = theirs if name in theirs.DESCRIPTOR.message_types_by_name else config
        _fields(ours, module.DESCRIPTOR.message_types_by_name[name], seen)
    assert len(seen) > 40
    assert f"{PACKAGE}.ModelInferRequest.InferInputTensor" in seen


def _request(raw=None, *, name="x", datatype="FP32", shape=(3,), copies=1, **contents):
    message = Request()
    for _ in range(copies):
        tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
        for field, values in contents.items():
            getattr(tensor.contents, field).extend(values)
    message.raw_input_contents.extend(raw or [])
    return message


@pytest.mark.parametrize(
    ("field", "datatype", "values"),
    [
        ("fp32_contents", "FP32", [0.5, -1.0, 3.0]),
        ("int_contents", "INT8", [-128, 0, 127]),
        ("uint_contents", "UINT16", [0, 1, 65535]),
        ("bool_contents", "BOOL", [True, False, True]),
        ("bytes_contents", "BYTES", [b"a", b"", b"ccc"]),
    ],
)
def test_typed_contents_are_read(field, datatype, values):
    (tensor,) = decode_message(_request(datatype=datatype, **{field: values}), LIMITS).inputs
    assert tensor.array.tolist() == values


def test_what_is_encoded_is_what_was_given():
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    parameters = {"flag": True, "count": 3, "list": [1, {"a": None}]}
    message = encode_message(InferResponse((WireTensor("y", array),), parameters, "m", "1", "7"))
    again = Request(raw_input_contents=message.raw_output_contents)
    again.inputs.add(name="y", datatype="FP16", shape=message.outputs[0].shape)
    (tensor,) = decode_message(again, LIMITS).inputs
    np.testing.assert_array_equal(tensor.array, array)
    assert message.parameters["flag"].bool_param is True
    assert message.parameters["count"].int64_param == 3
    assert message.parameters["list"].string_param == '[1,{"a":null}]'


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        (_request([bytes(11)]), BadRequest, "takes 12 bytes, but 11 were sent"),
        (_request([bytes(12), b""]), BadRequest, "1 inputs and 2 raw_input_contents"),
        (_request([bytes(12)], shape=(-3,)), BadRequest, r"shape \[-3\]"),
        (_request([bytes(12)], shape=(1,) * 20), BadRequest, "20 dimensions"),
        (_request([bytes(12)], datatype="COMPLEX"), BadRequest, "datatype 'COMPLEX'"),
        (_request([bytes(12)] * 2, copies=2), BadRequest, "a name of its own"),
        (_request([bytes(12)], name=""), BadRequest, "a name of its own"),
        (_request([bytes(12)] * 5, copies=5), TooLarge, "more than 4 inputs"),
        (_request(fp32_contents=[1.0]), BadRequest, "takes 12 bytes, but 4 were sent"),
        (_request(datatype="FP16", fp32_contents=[1.0]), BadRequest, "raw_input_contents"),
        (
            _request(datatype="INT8", int_contents=[1, 2, 300]),
            BadRequest,
            "do not fit INT8",
        ),
    ],
)
def test_what_does_not_fit_is_refused(message, error, text):
    with pytest.raises(error, match=text):
        decode_message(message, LIMITS)
