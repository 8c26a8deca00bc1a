"""How a tensor crosses the boundary between two segments: smaller on the wire, at a known error.

An encoding is a short text that says everything needed to decode, so that it can travel in a
manifest or beside the tensor: ``none``, ``fp16``, ``int8(0.0235,12)`` (scale and zero point), each
optionally with lossless compression: ``int8(0.0235,12)+zstd``. NumPy and zstd only; serving's
agent uses :func:`encode` and :func:`decode`.
"""

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

import numpy as np
import zstandard
from jaxtyping import Float, Shaped

from tierwise.errors import DataError, UserError
from tierwise.quality.metrics import relative_error

_TEXT = re.compile(
    r"(?P<kind>none|fp16|int8)(?:\((?P<scale>[^,()]+),(?P<zero>\d{1,3})\))?(?P<zstd>\+zstd)?"
)
_FP16_MAX = float(np.finfo(np.float16).max)
# Of zlib, zstd and LZ4 at several levels this one crosses fastest at 10 and at 100 Mbit/s, but for
# level 3 at 10 Mbit/s, which is up to 1% faster: benchmarks/boundary_compression.py.
_ZSTD_LEVEL = 1
# A (de)compressor has state that takes longer to make than a small tensor to compress, and must not
# be used by two threads at once.
_OWN = threading.local()
_FIT_VALUES = 65_536  # heuristic: enough values that the error over them is that over all
_FIT_STEPS = 16


class Kind(Enum):
    """What is done to the values."""

    NONE = "none"  # nothing: any element type
    FP16 = "fp16"  # half precision; what is beyond its range becomes its largest value
    INT8 = "int8"  # uint8 = round(value / scale) + zero_point, clipped


@dataclass(frozen=True)
class Encoding:
    """How one tensor crosses.

    Attributes:
        kind: What is done to its values; all but ``NONE`` are for floating-point tensors.
        scale: ``INT8``: size of one step.
        zero_point: ``INT8``: the integer that stands for 0.
        compressed: Whether the bytes are compressed (zstd) after that.
    """

    kind: Kind = Kind.NONE
    scale: float = 1.0
    zero_point: int = 0
    compressed: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """The encoding that ``str()`` wrote as ``text``.

        Raises:
            UserError: it is none.
        """
        match = _TEXT.fullmatch(text)
        scale, zero = 1.0, 0
        if match is not None and match["scale"] is not None:
            try:
                scale, zero = float(match["scale"]), int(match["zero"])
            except ValueError:
                match = None
        wrong = match is None or (match["kind"] == "int8") != (match["scale"] is not None)
        if match is None or wrong or not 0 < scale < np.inf or zero > 255:
            raise UserError(
                f"{text!r:.80} is no boundary encoding.",
                hint="Encodings are none, fp16 and int8(SCALE,ZERO_POINT), each with +zstd or "
                "without.",
                value=text,
            )
        return cls(Kind(match["kind"]), scale, zero, match["zstd"] is not None)

    def __str__(self) -> str:
        text = self.kind.value
        if self.kind is Kind.INT8:
            text += f"({self.scale!r},{self.zero_point})"
        return text + ("+zstd" if self.compressed else "")

    @property
    def name(self) -> str:
        """For people: ``"int8+zstd"``, ``"zstd"``, without the numbers."""
        if self.kind is Kind.NONE and self.compressed:
            return "zstd"
        return self.kind.value + ("+zstd" if self.compressed else "")

    @property
    def lossless(self) -> bool:
        """Whether decoding gives back every bit."""
        return self.kind is Kind.NONE


NONE = Encoding()
FP16 = Encoding(Kind.FP16)


def encode(tensor: Shaped[np.ndarray, "*shape"], encoding: Encoding) -> np.ndarray:
    """``tensor`` as it crosses: of its own shape, or a vector of bytes where it is compressed.

    Values that are not numbers cross as they are (``none``, ``fp16``) or as the least value
    (``int8``).

    Raises:
        DataError: the encoding is for floating-point tensors and this is none.
    """
    wire = tensor
    if encoding.kind is not Kind.NONE and not np.issubdtype(tensor.dtype, np.floating):
        raise DataError(
            f"The encoding {encoding} is for floating-point tensors; this one is {tensor.dtype}.",
            hint="Use none, with or without +zstd.",
        )
    if encoding.kind is Kind.FP16:
        wire = np.asarray(np.clip(tensor, -_FP16_MAX, _FP16_MAX)).astype(np.float16)
    elif encoding.kind is Kind.INT8:
        # A place for the result, because of a scalar NumPy would make a number, not an array.
        steps = np.empty(tensor.shape, np.float32)
        np.multiply(tensor, np.float32(1 / encoding.scale), out=steps, dtype=np.float32)
        np.rint(steps, out=steps)
        steps += np.float32(encoding.zero_point)
        np.nan_to_num(steps, copy=False, nan=0.0)
        wire = np.clip(steps, 0, 255, out=steps).astype(np.uint8)
    if encoding.compressed:
        return np.frombuffer(_compressor().compress(np.ascontiguousarray(wire).data), np.uint8)
    return wire


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_OWN, "compressor"):
        _OWN.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
    found: zstandard.ZstdCompressor = _OWN.compressor
    return found


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_OWN, "decompressor"):
        _OWN.decompressor = zstandard.ZstdDecompressor()
    found: zstandard.ZstdDecompressor = _OWN.decompressor
    return found


def decode(
    wire: np.ndarray, encoding: Encoding, shape: Sequence[int], dtype: np.dtype | str
) -> Shaped[np.ndarray, "*shape"]:
    """The tensor of ``shape`` and ``dtype`` that :func:`encode` made ``wire`` from.

    Raises:
        DataError: ``wire`` does not hold such a tensor. Never allocates more than the tensor takes.
    """
    dtype, shape = np.dtype(dtype), tuple(shape)
    crossing = {
        Kind.NONE: dtype,
        Kind.FP16: np.dtype(np.float16),
        Kind.INT8: np.dtype(np.uint8),
    }[encoding.kind]
    if encoding.compressed:
        wire = _decompress(wire, int(np.prod(shape, dtype=np.int64)) * crossing.itemsize, crossing)
        if wire.size == int(np.prod(shape, dtype=np.int64)):
            wire = wire.reshape(shape)
    if wire.shape != shape or wire.dtype != crossing:
        raise DataError(
            f"A tensor encoded as {encoding} should be {crossing} of shape {list(shape)}, but is "
            f"{wire.dtype} of shape {list(wire.shape)}."
        )
    if encoding.kind is Kind.INT8:
        values = wire.astype(np.float32)
        values -= np.float32(encoding.zero_point)
        values *= np.float32(encoding.scale)
        return values.astype(dtype, copy=False)
    return wire.astype(dtype, copy=False)


def _decompress(wire: np.ndarray, expected_bytes: int, dtype: np.dtype) -> np.ndarray:
    packed = np.ascontiguousarray(wire).data
    try:
        # What the head of the stream says is allocated, so it is looked at first.
        said = zstandard.frame_content_size(packed)
        if said != expected_bytes:
            raise DataError(
                f"A compressed tensor should hold {expected_bytes} bytes, but holds "
                f"{'an unknown number' if said < 0 else said}."
            )
        content = _decompressor().decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        raise DataError(f"A compressed tensor is damaged: {exc}.") from exc
    return np.frombuffer(content, dtype)


def fit_int8(samples: Sequence[Float[np.ndarray, "..."]]) -> Encoding:
    """The 8-bit scale and zero point with the least squared error on ``samples``.

    The range is that of the values, 0 included so that zeros stay exact (after a ReLU they are
    half of all), shrunk by the factor of a fixed list whose rounding and clipping err least.

    Args:
        samples: The tensor for some calibration inputs.

    Raises:
        DataError: no samples, or values that are not finite.
    """
    if not samples:
        raise DataError("An int8 encoding is fitted to calibration data, and there is none.")
    flat = np.concatenate([sample.reshape(-1) for sample in samples]).astype(np.float64)
    if not np.isfinite(flat).all():
        raise DataError("An int8 encoding needs finite values; the calibration has others.")
    low, high = min(0.0, flat.min(initial=0.0)), max(0.0, flat.max(initial=0.0))
    if high == low:
        return Encoding(Kind.INT8, 1.0, 0)
    values = flat[:: -(-len(flat) // _FIT_VALUES)]
    best, least = _range_to_int8(low, high), np.inf
    for shrink in np.linspace(1.0, 0.4, _FIT_STEPS):
        candidate = _range_to_int8(low * shrink, high * shrink)
        steps = np.clip(np.rint(values / candidate.scale) + candidate.zero_point, 0, 255)
        error = float(np.mean(((steps - candidate.zero_point) * candidate.scale - values) ** 2))
        if error < least:
            best, least = candidate, error
    return best


def _range_to_int8(low: float, high: float) -> Encoding:
    # float32, because that is what both sides compute with; tiny ranges stay above 0.
    scale = float(np.float32(max((high - low) / 255, float(np.finfo(np.float32).tiny))))
    return Encoding(Kind.INT8, scale, int(np.clip(np.rint(-low / scale), 0, 255)))


@dataclass(frozen=True)
class EncodingCost:
    """What an encoding costs and saves, measured on samples of one tensor.

    Attributes:
        encoding: Which.
        wire_bytes: Median size on the wire.
        encode_s: Median time to encode.
        decode_s: Median time to decode.
        error: Root mean square error against the tensor's, mean over samples; 0: lossless.
    """

    encoding: Encoding
    wire_bytes: int
    encode_s: float
    decode_s: float
    error: float

    @classmethod
    def plain(cls, size_bytes: int) -> Self:
        """Of a tensor that crosses as it is."""
        return cls(NONE, size_bytes, 0.0, 0.0, 0.0)

    def crossing_s(self, bandwidth_bit_per_s: float | None) -> float:
        """Time to encode, send at ``bandwidth_bit_per_s`` (``None``: at once) and decode."""
        sending = 0.0 if bandwidth_bit_per_s is None else 8 * self.wire_bytes / bandwidth_bit_per_s
        return self.encode_s + sending + self.decode_s


def measure_encoding(encoding: Encoding, samples: Sequence[np.ndarray]) -> EncodingCost:
    """Encode and decode every sample (at least one), on this machine."""
    sizes, encoding_s, decoding_s, errors = [], [], [], []
    # The first round is warm-up: it faults in the memory.
    for sample in (samples[0], *samples):
        begun = time.perf_counter()
        wire = encode(sample, encoding)
        encoded = time.perf_counter()
        back = decode(wire, encoding, sample.shape, sample.dtype)
        decoded = time.perf_counter()
        sizes.append(wire.nbytes)
        encoding_s.append(encoded - begun)
        decoding_s.append(decoded - encoded)
        errors.append(0.0 if encoding.lossless else relative_error(back, sample))
    return EncodingCost(
        encoding,
        int(np.median(sizes[1:])),
        float(np.median(encoding_s[1:])),
        float(np.median(decoding_s[1:])),
        float(np.mean(errors[1:])),
    )


def candidate_encodings(samples: Sequence[np.ndarray]) -> tuple[Encoding, ...]:
    """Every encoding that fits the tensor: all for finite floats, else only lossless ones."""
    kinds = [NONE]
    first = samples[0]
    floating = np.issubdtype(first.dtype, np.floating)
    if floating and first.size and all(np.isfinite(sample).all() for sample in samples):
        if first.dtype.itemsize > 2 and max(np.abs(s).max() for s in samples) <= _FP16_MAX:
            kinds.append(FP16)
        kinds.append(fit_int8(samples))
    return tuple(replace(kind, compressed=packed) for kind in kinds for packed in (False, True))
