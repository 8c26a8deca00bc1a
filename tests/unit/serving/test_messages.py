import contextlib
import json
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tierwise.serving.datatypes import NUMPY_OF
from tierwise.serving.decoding import decode_ahead, decode_outputs, decode_request
from tierwise.serving.encoding import encode_request, encode_response
from tierwise.serving.faults import BadRequest, Refusal, TooLarge
from tierwise.serving.limits import DEFAULT_LIMITS, Limits
from tierwise.serving.messages import InferResponse, WireTensor

ARRAYS = st.sampled_from(sorted(set(NUMPY_OF) - {"BF16"})).flatmap(
    lambda name: hnp.arrays(NUMPY_OF[name], hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


def decode_response(body, json_bytes=None):
    """A whole answer: its parameters are read as well."""
    response, told = decode_outputs(body, json_bytes)
    return response._replace(parameters=told.read())


def _body(inputs, **more):
    return json.dumps({"inputs": inputs, **more}).encode()


def encoded(tensors):
    """A request's body, and the length of its JSON part."""
    buffers, _ = encode_request(tensors)
    return b"".join(buffers), len(buffers[0])


def _tensor(**changes):
    return {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]} | changes


@given(st.lists(ARRAYS, min_size=1, max_size=4))
def test_binary_tensors_come_back_bit_by_bit(arrays):
    tensors = [WireTensor(f"t{index}", array) for index, array in enumerate(arrays)]
    request = decode_request(*encoded(tensors))
    for sent, got in zip(arrays, request.inputs, strict=True):
        assert got.array.dtype == sent.dtype
        assert got.array.shape == sent.shape
        assert got.array.tobytes() == sent.tobytes()


@given(ARRAYS.filter(lambda a: a.dtype.kind != "f" or bool(np.isfinite(a).all())))
@example(np.array([2**63, 0], np.uint64))
def test_json_tensors_come_back_equal(array):
    response = InferResponse((WireTensor("y", array),), model_name="m")
    buffers, json_bytes = encode_response(response, {}, binary_default=False)
    assert json_bytes is None
    got = decode_response(b"".join(buffers)).outputs[0].array
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


def test_a_large_tensor_is_a_view_of_the_body():
    text, json_bytes = encoded([WireTensor("x", np.ones((3, 1000), np.float32))])
    body = np.frombuffer(text, np.uint8)
    array = decode_request(body.data, json_bytes).inputs[0].array
    assert np.shares_memory(array, body)


VARIANTS = {
    "as it is": lambda array: array,
    "transposed": lambda array: array.T,
    "every second": lambda array: array.ravel()[::2],
    "empty": lambda array: array[:0],
    "one number": lambda array: array[1, 1],
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
}


# NumPy has no big-endian bfloat16.
KINDS = [(d, v) for d in NUMPY_OF for v in VARIANTS if (d, v) != ("BF16", "big-endian")]


@pytest.mark.parametrize(("datatype", "variant"), KINDS)
def test_an_array_of_any_layout_comes_back_in_the_protocols(datatype, variant):
    dtype = NUMPY_OF[datatype]
    array = np.asarray(VARIANTS[variant](np.arange(6).astype(dtype).reshape(2, 3)))
    got = decode_request(*encoded([WireTensor("x", array)])).inputs[0].array
    assert (got.dtype, got.shape) == (dtype, array.shape)
    assert got.tobytes() == array.astype(dtype).tobytes()


def test_bytes_elements_come_back():
    array = np.array([b"", b"\x00\xff", b"abc"], dtype=object)
    request = decode_request(*encoded([WireTensor("x", array)]))
    assert list(request.inputs[0].array) == list(array)


def test_not_a_number_must_be_asked_for_in_binary():
    response = InferResponse((WireTensor("y", np.array([np.nan], np.float32)),))
    with pytest.raises(BadRequest, match="binary_data_output"):
        encode_response(response, {}, binary_default=False)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Content-Length is 0"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "must be a JSON object, not list"),
        (b"{}", "'inputs' must be a list"),
        (_body([1]), "'inputs' must be a list of objects"),
        (_body([_tensor(name=7)]), "'name' is 7"),
        (_body([_tensor(), _tensor()]), "two inputs named 'x'"),
        (_body([_tensor(shape=[-1])]), "sizes of 0 or more"),
        (_body([_tensor(shape=[True])]), "sizes of 0 or more"),
        (_body([_tensor(shape="2")]), "sizes of 0 or more"),
        (_body([_tensor(shape=[2**50])]), "sizes of 0 or more"),
        (_body([_tensor(shape=[1] * 17)]), "17 dimensions; at most 16"),
        (_body([_tensor(datatype="FP31")]), "datatype 'FP31'; the datatypes are"),
        (_body([_tensor(datatype=["FP32"])]), "the datatypes are"),
        (_body([_tensor(shape=[3])]), "has 3 elements, but 2 were sent"),
        (_body([_tensor(data=None)]), "neither 'data' nor binary_data_size"),
        (_body([_tensor(data=[1, [2, 3]])]), "cannot be read as FP32"),
        (_body([_tensor(data=["1", "2"])]), "do not fit that type|cannot be read"),
        (_body([_tensor(datatype="UINT8", data=[1, 256])]), "cannot be read|do not fit"),
        (_body([_tensor(datatype="INT32", data=[1, 2.5])]), "do not fit"),
        (_body([_tensor(datatype="BYTES", data=[1, 2])]), "must be text"),
        (_body([_tensor(parameters={"binary_data_size": 8})]), "both 'data' and binary"),
        (_body([_tensor(parameters=3)]), "must be a JSON object"),
        (_body([], id=5), "'id' is 5"),
        (_body([], outputs={}), "'outputs' must be a list"),
    ],
)
def test_a_malformed_request_is_refused_with_its_reason(body, message):
    with pytest.raises(BadRequest, match=message):
        decode_request(body)


@pytest.mark.parametrize(
    ("shape", "datatype", "size", "sent", "message"),
    [
        ([2], "FP32", 8, 7, "7 bytes are left"),
        ([2], "FP32", 8, 9, "1 bytes follow the last tensor"),
        ([3], "FP32", 8, 8, "takes 12 bytes, but 8 were sent"),
        ([2**39, 2**39], "FP64", 8, 8, "takes .* bytes, but 8 were sent"),
        ([2], "FP32", -8, 8, "binary_data_size -8"),
        ([2], "FP32", "8", 8, "binary_data_size '8'"),
        ([1], "BYTES", 3, 3, "3 stray bytes"),
        ([1], "BYTES", 8, 8, "an element of 16843009 bytes, but 4 are left"),
    ],
)
def test_bytes_that_do_not_match_the_shape_are_refused(shape, datatype, size, sent, message):
    entry = {"name": "x", "shape": shape, "datatype": datatype}
    head = _body([entry | {"parameters": {"binary_data_size": size}}])
    with pytest.raises(BadRequest, match=message):
        decode_request(head + b"\x01" * sent, len(head))


def test_null_in_an_answer_is_a_member_that_is_not_there():
    tensor = {"name": "y", "shape": [1], "datatype": "FP32", "parameters": None}
    answer = {"model_name": "m", "model_version": None, "id": None, "parameters": None}
    read = decode_response(json.dumps(answer | {"outputs": [tensor | {"data": [2.5]}]}).encode())
    assert read.outputs[0].array.tolist() == [2.5]
    assert (read.model_version, read.request_id, read.parameters) == ("", "", {})
    tensor |= {"data": None, "parameters": {"binary_data_size": 4}}
    head = json.dumps(answer | {"outputs": [tensor]}).encode()
    read = decode_response(head + np.float32(2.5).tobytes(), len(head))
    assert read.outputs[0].array.tolist() == [2.5]


@pytest.mark.parametrize("length", [0, 10**6, -1])
def test_a_wrong_header_length_is_refused(length):
    with pytest.raises(BadRequest, match="must be at least 1 and at most"):
        decode_request(_body([]), length)


def test_deep_json_is_refused_before_it_is_parsed():
    with pytest.raises(BadRequest, match="nested 100000 deep; at most 32"):
        decode_request(b'{"inputs":' + b"[" * 99_999)


def test_more_tensors_than_the_limit_are_refused():
    body = _body([_tensor(name=f"x{i}") for i in range(5)])
    with pytest.raises(TooLarge, match="5 entries; at most 4"):
        decode_request(body, limits=Limits(max_tensors=4))


def test_json_over_its_own_limit_is_refused_before_it_is_parsed():
    body = b"[" * 11  # no JSON, which nobody finds out
    with pytest.raises(TooLarge, match="JSON part has 11 bytes, at most 10"):
        decode_request(body, limits=Limits(max_json_bytes=10))
    with pytest.raises(BadRequest, match="not JSON"):
        decode_request(body, limits=Limits(max_json_bytes=11))


def _valid_body() -> tuple[bytes, int]:
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([b"ab", b""], dtype=object)]
    return encoded([WireTensor(f"t{i}", a) for i, a in enumerate(arrays)])


@pytest.mark.slow
def test_a_hundred_thousand_damaged_bodies_raise_nothing_but_refusals():
    rng = np.random.default_rng(0)
    valid, json_bytes = _valid_body()
    tokens = [b"[", b"]", b"{", b"}", b"-", b"9" * 30, b"null", b"1e999", b'"', b"\xff", b"\x00"]
    end = time.perf_counter() + 60
    for count in range(100_000):
        body = bytearray(valid)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(body)))
            match int(rng.integers(4)):
                case 0:
                    body[at] = int(rng.integers(256))
                case 1:
                    del body[at : at + int(rng.integers(1, 20))]
                case 2:
                    body[at:at] = tokens[int(rng.integers(len(tokens)))]
                case _:
                    body[at : at + 4] = rng.bytes(4)
            if not body:
                break
        length = json_bytes + int(rng.integers(-2, 3)) if count % 3 else json_bytes
        with contextlib.suppress(Refusal):
            decode_request(bytes(body), length)
        assert time.perf_counter() < end, f"only {count} bodies in a minute"


def _answer(parameters, **tensor):
    response = InferResponse((WireTensor("y", np.arange(3), tensor),), parameters, "m", "1", "7")
    buffers, json_bytes = encode_response(response, {}, binary_default=True)
    return b"".join(buffers), json_bytes


@pytest.mark.parametrize("took", [1.5, {"nested": {"tierwise_timing": []}}, 'a"},"parameters":'])
def test_an_answer_that_tells_its_timing_reads_as_any_other(took):
    for _ in range(2):  # the second with what was remembered
        read = decode_response(*_answer({"tierwise_timing": [took]}))
        assert read.parameters == {"tierwise_timing": [took]}
        assert (read.model_name, read.model_version, read.request_id) == ("m", "1", "7")
        np.testing.assert_array_equal(read.outputs[0].array, np.arange(3))
        # The same words inside a tensor's own parameters are not the answer's.
        inside = decode_response(*_answer({"other": took}, tierwise_timing=took))
        assert inside.parameters == {"other": took}
        assert inside.outputs[0].parameters == {"tierwise_timing": took}


@pytest.mark.parametrize("others", [{}, {"model": "m", "list": [1]}])
def test_accounts_leave_as_a_parameter_beside_the_others(others):
    outputs = (WireTensor("y", np.arange(3)),)
    response = InferResponse(outputs, others, accounts=b'{"tier":"a"},{"tier":"b"}')
    for binary in (True, False):
        buffers, json_bytes = encode_response(response, {}, binary_default=binary)
        read = decode_response(b"".join(buffers), json_bytes)
        assert read.parameters == {"tierwise_timing": [{"tier": "a"}, {"tier": "b"}], **others}


@pytest.mark.parametrize("end", [b"]", b',"outputs":3}', b"} "], ids=["bracket", "twice", "space"])
def test_an_answer_that_is_damaged_behind_its_timing_is_read_whole(end):
    text = b'{"outputs":[],"parameters":{"tierwise_timing":1}' + end
    if end == b"} ":
        assert decode_response(text).parameters == {"tierwise_timing": 1}
        return
    with pytest.raises(BadRequest):
        decode_response(text)


def test_a_request_is_decoded_before_its_data_is_there():
    array = np.arange(5, dtype=np.float32)
    text, json_bytes = encoded([WireTensor("x", array)])
    whole = np.frombuffer(text, np.uint8)
    body = np.zeros_like(whole)
    body[:json_bytes] = whole[:json_bytes]
    read = decode_ahead(body.data, json_bytes, json_bytes, DEFAULT_LIMITS)
    body[:] = whole
    np.testing.assert_array_equal(read.inputs[0].array, array)


@pytest.mark.parametrize(
    "tensor",
    [_tensor(), _tensor(datatype="BYTES", data=None), _tensor(shape=[3], data=None)],
    ids=["JSON", "texts", "wrong size"],
)
def test_what_needs_its_data_or_is_wrong_is_not_decoded_ahead(tensor):
    if tensor["data"] is None:
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": 8}
    text = _body([tensor])
    body = np.zeros(len(text) + 8, np.uint8)
    body[: len(text)] = np.frombuffer(text, np.uint8)
    for present in (0, len(text)):
        assert decode_ahead(body.data, present, len(text), DEFAULT_LIMITS) is None
