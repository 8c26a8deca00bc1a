import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tierwise.errors import DataError, UserError
from tierwise.operators.encoding import (
    FP16,
    NONE,
    Encoding,
    Kind,
    candidate_encodings,
    decode,
    encode,
    fit_int8,
    measure_encoding,
)

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.uint8, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
SCALES = st.floats(1e-6, 1e6)
ENCODINGS = st.builds(
    Encoding, st.just(Kind.INT8), SCALES, st.integers(0, 255), st.booleans()
) | st.sampled_from([NONE, FP16, Encoding(compressed=True), Encoding(Kind.FP16, compressed=True)])


@given(ENCODINGS)
def test_the_text_says_everything(encoding):
    assert Encoding.parse(str(encoding)) == encoding


@pytest.mark.parametrize(
    "text",
    ["", "int8", "fp16(1.0,2)", "int8(0,0)", "int8(nan,0)", "int8(1,256)", "int8(x,1)", "zstd",
     "none+zstd+zstd", "int8(inf,0)", "int8(-1,0)"],
)  # fmt: skip
def test_what_is_no_encoding_is_refused(text):
    with pytest.raises(UserError, match=r"is no boundary encoding\. Encodings are none, fp16"):
        Encoding.parse(text)


@given(ARRAYS, st.booleans())
def test_lossless_means_every_bit(tensor, compressed):
    encoding = Encoding(compressed=compressed)
    back = decode(encode(tensor, encoding), encoding, tensor.shape, tensor.dtype)
    assert back.dtype == tensor.dtype
    assert back.shape == tensor.shape
    assert back.tobytes() == tensor.tobytes()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [Kind.FP16, Kind.INT8])
def test_a_scalar_crosses_like_any_other_tensor(kind, compressed):
    # Such as the scale of a dynamically quantized tensor.
    tensor, encoding = np.array(3.0, np.float32), Encoding(kind, 0.5, 7, compressed)
    wire = encode(tensor, encoding)
    assert isinstance(wire, np.ndarray)
    back = decode(wire, encoding, (), "float32")
    assert isinstance(back, np.ndarray)
    assert (back.shape, back.dtype, float(back)) == ((), np.float32, 3.0)


@given(hnp.arrays(np.float32, (3, 7), elements=st.floats(-1e4, 1e4, width=32)), st.booleans())
def test_int8_errs_by_half_a_step_within_its_range(tensor, compressed):
    low, high = min(0.0, float(tensor.min())), max(0.0, float(tensor.max()))
    scale = max((high - low) / 255, 1e-6)
    encoding = Encoding(Kind.INT8, scale, round(-low / scale), compressed)
    back = decode(encode(tensor, encoding), encoding, tensor.shape, tensor.dtype)
    # Half a step, and another half where the zero point was rounded against the range's end.
    assert np.abs(back - tensor).max() <= scale * 1.01 + 1e-3 * np.abs(tensor).max()


def test_zeros_stay_exact_after_fitting():
    rng = np.random.default_rng(0)
    tensor = np.maximum(rng.standard_normal((1, 8, 6, 6)).astype(np.float32), 0)
    encoding = fit_int8([tensor])
    back = decode(encode(tensor, encoding), encoding, tensor.shape, tensor.dtype)
    assert (back[tensor == 0] == 0).all()


def test_fitting_clips_an_outlier_rather_than_blur_everything():
    rng = np.random.default_rng(0)
    tensor = rng.standard_normal(100_000).astype(np.float32)
    tensor[0] = 9
    fitted = fit_int8([tensor])
    assert fitted.scale < (9 - tensor.min()) / 255


def test_nothing_but_zeros_can_be_fitted():
    encoding = fit_int8([np.zeros((2, 3), np.float32)])
    assert not decode(encode(np.zeros(4, np.float32), encoding), encoding, (4,), "float32").any()


def test_half_precision_saturates_instead_of_becoming_infinite():
    tensor = np.array([1e9, -1e9, 1.5], np.float32)
    assert decode(encode(tensor, FP16), FP16, (3,), "float32").tolist() == [65504, -65504, 1.5]


def test_what_is_no_number_crosses_as_the_least_value_in_int8():
    encoding = Encoding(Kind.INT8, 0.5, 10)
    wire = encode(np.array([np.nan, np.inf, -np.inf, 1.0], np.float32), encoding)
    assert wire.tolist() == [0, 255, 0, 12]


def test_integers_cannot_be_made_smaller_with_a_loss():
    with pytest.raises(DataError, match="for floating-point tensors; this one is uint8"):
        encode(np.zeros(3, np.uint8), FP16)


def test_a_bomb_is_stopped_at_the_size_of_the_tensor():
    bomb = np.frombuffer(zstandard.compress(bytes(50_000_000)), np.uint8)
    with pytest.raises(DataError, match="should hold 16 bytes, but holds 50000000"):
        decode(bomb, Encoding(compressed=True), (4,), "float32")


SIXTEEN = zstandard.compress(bytes(16))


@pytest.mark.parametrize(
    "wire",
    [b"", b"not zstd", zstandard.compress(bytes(3)), SIXTEEN[:-1], SIXTEEN + b"x", SIXTEEN * 2],
)
def test_damaged_bytes_are_an_error(wire):
    with pytest.raises(DataError, match="compressed tensor"):
        decode(np.frombuffer(wire, np.uint8), Encoding(compressed=True), (4,), "float32")


def test_a_wire_tensor_of_another_shape_is_an_error():
    with pytest.raises(DataError, match=r"should be float16 of shape \[4\], but is float16"):
        decode(np.zeros(5, np.float16), FP16, (4,), "float32")


def test_the_cost_is_measured_and_the_error_is_that_of_the_data():
    rng = np.random.default_rng(1)
    samples = [np.maximum(rng.standard_normal((1, 16, 8, 8)), 0).astype(np.float32)] * 3
    costs = {str(c): measure_encoding(c, samples) for c in candidate_encodings(samples)}
    plain, half = costs["none"], costs["fp16"]
    assert (plain.wire_bytes, half.wire_bytes, plain.error) == (4096, 2048, 0)
    assert 0 < half.error < 1e-3
    slow = plain.crossing_s(1e6)
    assert slow == pytest.approx(plain.encode_s + plain.decode_s + 4096 * 8 / 1e6)
    assert plain.crossing_s(None) == plain.encode_s + plain.decode_s


def test_integers_get_lossless_candidates_only():
    assert [str(e) for e in candidate_encodings([np.zeros(4, np.uint8)])] == ["none", "none+zstd"]


def test_values_beyond_half_precision_are_not_offered_in_it():
    kinds = {e.kind for e in candidate_encodings([np.array([1e6], np.float32)])}
    assert kinds == {Kind.NONE, Kind.INT8}
