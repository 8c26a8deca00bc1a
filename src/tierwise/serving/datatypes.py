"""The protocol's names of element types, and NumPy's."""

import ml_dtypes
import numpy as np

# https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, "Tensor data
# types"; BF16 is Triton's addition. BYTES has no fixed size and is handled by the codec.
NUMPY_OF: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
BYTES = "BYTES"
_NAME_OF = {dtype: name for name, dtype in NUMPY_OF.items()}


def datatype_of(dtype: np.dtype[np.generic] | str) -> str:
    """The protocol's name of a NumPy element type; text and objects are ``BYTES``.

    Raises:
        KeyError: an element type that the protocol has no name for (complex, dates).
    """
    known = _NAME_OF.get(dtype) if isinstance(dtype, np.dtype) else None
    if known is not None:
        return known
    kind = np.dtype(dtype)
    if kind.kind in "OSU":
        return BYTES
    return _NAME_OF[kind.newbyteorder("<") if kind.byteorder == ">" else kind]
