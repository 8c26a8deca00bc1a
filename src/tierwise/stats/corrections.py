"""Corrections for testing more than once: they bound the chance of any false alarm."""

import numpy as np
from jaxtyping import Float


def bonferroni(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Each p-value times their number, at most 1. Valid under any dependence."""
    capped: np.ndarray = np.minimum(1.0, p * len(p))
    return capped


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Holm's step-down adjusted p-values: as valid as Bonferroni's, never larger.

    Source: S. Holm, Scandinavian Journal of Statistics 6(2), 1979.
    """
    m = len(p)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(m, 0, -1))
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted
