"""The Pareto front of latency against loss."""

import numpy as np
from jaxtyping import Bool, Float


def pareto_front(
    latency_s: Float[np.ndarray, " n"], loss: Float[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Which strategies no other beats: at least as fast and as lossless, and better in one.

    Equal strategies are all on the front. O(n log n).

    Args:
        latency_s: Median latency of every strategy, finite.
        loss: Points of quality that each loses, finite.
    """
    order = np.lexsort((loss, latency_s))
    on_front = np.zeros(len(order), dtype=bool)
    least_loss = np.inf
    least_loss_latency_s = np.inf
    for index in order:
        equal = loss[index] == least_loss and latency_s[index] == least_loss_latency_s
        if loss[index] < least_loss or equal:
            on_front[index] = True
            least_loss, least_loss_latency_s = loss[index], latency_s[index]
    return on_front
