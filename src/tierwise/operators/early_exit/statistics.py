"""Channel statistics: the mean and the spread that the original had, given back to a channel."""

import numpy as np
from jaxtyping import Float

# heuristic: a channel that hardly varies here says nothing about its spread; it is only shifted.
_LEAST_SPREAD = 1e-6
# heuristic: a larger factor means that skipping took what made the channel vary; blowing up what is
# left would amplify noise.
_MOST_SCALE = 4.0


def rematch(
    present: Float[np.ndarray, "rows outputs"], wanted: Float[np.ndarray, "rows outputs"]
) -> tuple[Float[np.ndarray, " outputs"], Float[np.ndarray, " outputs"]]:
    """Scale and shift of every channel with which ``present`` has the statistics of ``wanted``.

    Args:
        present: What a layer gives at some positions.
        wanted: What it should give there.

    Source: what re-estimating batch normalisation does for a pruned network, in closed form and
    on the layer's own output; the scale is held within a factor of 4.
    """
    mean, spread = present.mean(axis=0), present.std(axis=0)
    mean_wanted, spread_wanted = wanted.mean(axis=0), wanted.std(axis=0)
    varies = spread > _LEAST_SPREAD * (1 + np.abs(mean))
    scale = np.where(varies, spread_wanted / np.where(varies, spread, 1), 1.0)
    scale = np.clip(scale, 1 / _MOST_SCALE, _MOST_SCALE)
    return scale, mean_wanted - scale * mean
