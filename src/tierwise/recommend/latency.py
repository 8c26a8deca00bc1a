"""The latency of a trial in a few figures, no finer than its samples can back."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tierwise.stats.median_interval import fewest_for_median, median_interval
from tierwise.stats.percentile import samples_needed as backing
from tierwise.store.results import TrialResult, TrialState

# heuristic: a median of fewer samples than this is an anecdote; its interval is the full range.
_FEWEST_FOR_MEDIAN = 5


@dataclass(frozen=True)
class LatencyFigure:
    """Latency of one trial.

    Attributes:
        n: Number of samples; 0 where it was predicted.
        p50_s: Median, or the predicted median.
        low_s: Lower end of the median's 95% interval (of the predictor's, where predicted).
        high_s: Upper end.
        p95_s: 95th percentile; ``None`` where the samples do not back it.
    """

    n: int
    p50_s: float
    low_s: float
    high_s: float
    p95_s: float | None

    @property
    def measured(self) -> bool:
        """Whether it comes from samples."""
        return self.n > 0


def samples_needed(percentile: float) -> int:
    """How many samples back a percentile with 99% confidence; the median is quoted from 5."""
    return _FEWEST_FOR_MEDIAN if percentile == 50 else backing(percentile / 100)


def latency_figure(trial: TrialResult) -> LatencyFigure | None:
    """The figures of ``trial``; ``None`` where it has neither samples nor a prediction."""
    n = len(trial.latency_s)
    if trial.state is TrialState.MEASURED and n:
        low_s, high_s = median_range(trial.latency_s)
        backed = n >= samples_needed(95)
        p95_s = float(np.quantile(trial.latency_s, 0.95)) if backed else None
        return LatencyFigure(n, float(np.median(trial.latency_s)), low_s, high_s, p95_s)
    if trial.state is TrialState.PREDICTED and trial.predicted_s is not None:
        low_s, median_s, high_s = trial.predicted_s
        return LatencyFigure(0, median_s, low_s, high_s, None)
    return None


def median_range(samples: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Distribution-free 95% interval of the median; the full range where samples are too few."""
    if len(samples) < fewest_for_median():
        return float(samples.min()), float(samples.max())
    interval = median_interval(samples)
    return interval.low, interval.high
