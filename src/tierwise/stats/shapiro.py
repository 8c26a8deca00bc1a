"""Shapiro-Wilk: could these samples come from a normal distribution?"""

import warnings
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

# Royston (1995) fitted the p-value for n up to 5,000; beyond it is an extrapolation.
LARGEST_N_OF_THE_P_VALUE = 5000
_SMALLEST_N = 3


@dataclass(frozen=True)
class Normality:
    """Shapiro-Wilk's statistic, 1 for a perfect fit, and its p-value."""

    w: float
    p: float


def shapiro_wilk(samples: Float[np.ndarray, " n"]) -> Normality | None:
    """Test ``samples`` for normality; ``None`` below 3 samples or where all are equal.

    Source: P. Royston, Applied Statistics 44(4), 1995 (algorithm AS R94), in SciPy.
    """
    if len(samples) < _SMALLEST_N or samples.min() == samples.max():
        return None
    with warnings.catch_warnings():
        # SciPy warns above 5,000 samples; the notes of an analysis say so instead.
        warnings.filterwarnings("ignore", message="scipy.stats.shapiro", category=UserWarning)
        result = scipy.stats.shapiro(samples)
    return Normality(w=float(result.statistic), p=float(result.pvalue))
