"""What one group of samples looks like."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tierwise.errors import TooFewSamples
from tierwise.stats.shapiro import shapiro_wilk


@dataclass(frozen=True)
class Summary:
    """Figures of one group, in the unit of its samples.

    Attributes:
        n: Number of samples.
        min: Smallest sample.
        max: Largest sample.
        median: Middle sample, or the mean of the two middle ones.
        mean: Arithmetic mean.
        std: Standard deviation with ``ddof=0``, as the study publishes it.
        std_ddof1: Standard deviation with ``ddof=1``.
        p95: The samples' own 95th percentile (linear interpolation between order statistics). A
            description of these samples; a bound on the true percentile comes from
            :func:`tierwise.stats.percentile.percentile_bound`.
        shapiro_w: Shapiro-Wilk's W, or ``None`` where it has no meaning.
        shapiro_p: Its p-value, or ``None``.
    """

    n: int
    min: float
    max: float
    median: float
    mean: float
    std: float
    std_ddof1: float
    p95: float
    shapiro_w: float | None
    shapiro_p: float | None


def summarize(samples: Float[np.ndarray, " n"]) -> Summary:
    """Figures of ``samples``: finite, at least 2.

    Raises:
        TooFewSamples: there are fewer than 2 samples (``.needed``, ``.got``).
    """
    if len(samples) < 2:
        raise TooFewSamples("A summary with a standard deviation", needed=2, got=len(samples))
    normality = shapiro_wilk(samples)
    return Summary(
        n=len(samples),
        min=float(samples.min()),
        max=float(samples.max()),
        median=float(np.median(samples)),
        mean=float(samples.mean()),
        std=float(samples.std(ddof=0)),
        std_ddof1=float(samples.std(ddof=1)),
        p95=float(np.quantile(samples, 0.95)),
        shapiro_w=None if normality is None else normality.w,
        shapiro_p=None if normality is None else normality.p,
    )
