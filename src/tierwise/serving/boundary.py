"""How the tensors that cross between two tiers are encoded on the wire."""

from collections.abc import Mapping

import numpy as np

from tierwise.serving.codec import WireTensor
from tierwise.serving.faults import BadRequest


def encode_boundary(
    tensors: Mapping[str, np.ndarray], encodings: Mapping[str, str]
) -> list[WireTensor]:
    """Tensors as they leave a tier; ``encodings`` by tensor name, ``"none"`` where it says nothing.

    Raises:
        BadRequest: an encoding isn't known.
    """
    for name, encoding in encodings.items():
        if encoding != "none":
            raise BadRequest(f"Tensor {name!r:.100}: there is no encoding {encoding!r:.50}.")
    return [WireTensor(name, array) for name, array in tensors.items()]


def decode_boundary(tensor: WireTensor) -> np.ndarray:
    """A tensor as it arrives, to what the segment takes."""
    return tensor.array
