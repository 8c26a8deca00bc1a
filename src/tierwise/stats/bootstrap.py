"""Bootstrap intervals that resample inputs, not requests."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped

from tierwise.errors import TooFewSamples
from tierwise.stats.median_interval import Interval

# heuristic: below this many clusters the percentile method's coverage is well under its name.
FEWEST_CLUSTERS = 10


def cluster_bootstrap(
    samples: Float[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " n"],
    statistic: Callable[[np.ndarray], float] = lambda x: float(np.median(x)),
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of ``statistic`` where samples of one input are not independent.

    Inputs are drawn with replacement and bring all their samples along. Five passes over the same
    100 images are 100 independent observations, not 500: an interval over samples would be too
    narrow.

    Args:
        samples: One value a request.
        clusters: The input of every request.
        statistic: Of one resample; the median by default.
        confidence: Of the interval.
        resamples: How often to draw.
        seed: Of the draws.

    Raises:
        TooFewSamples: there are fewer than 10 different inputs.

    Source: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997,
    section 3.8; the percentile method.
    """
    labels, member = np.unique(clusters, return_inverse=True)
    if len(labels) < FEWEST_CLUSTERS:
        raise TooFewSamples(
            "A bootstrap clustered by input (inputs)", needed=FEWEST_CLUSTERS, got=len(labels)
        )
    order = np.argsort(member, kind="stable")
    by_cluster = np.split(samples[order], np.cumsum(np.bincount(member))[:-1])
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(labels), (resamples, len(labels)))
    if len(labels) == len(samples):
        figures = np.array([statistic(samples[order][drawn]) for drawn in draws])
    else:
        figures = np.array(
            [statistic(np.concatenate([by_cluster[i] for i in drawn])) for drawn in draws]
        )
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(figures, [tail, 1.0 - tail])
    return Interval(float(low), float(statistic(samples)), float(high), confidence)
