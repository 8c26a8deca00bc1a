"""How far a variant's output is from the original's, where no label says what is right."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

# heuristic: rows that sum to one within this are probabilities already.
_SUMS_TO_ONE = 1e-4


def divergence(
    original: Sequence[Mapping[str, np.ndarray]], variant: Sequence[Mapping[str, np.ndarray]]
) -> Float[np.ndarray, " n"]:
    """Divergence of the outputs of ``variant`` from those of ``original``, an entry an input.

    Class scores (rank 2 or more, the class axis being the second, at least two classes) are
    compared by the Kullback-Leibler divergence of their softmax, in nats, averaged over
    positions; other floating-point outputs by the squared error relative to the original's
    energy. Several outputs are averaged. Integer outputs are counted where they differ.

    Args:
        original: Outputs by name, one mapping an input, each with its batch axis.
        variant: The same outputs of the variant.

    Returns:
        Shape ``(n,)``; zero where the outputs are the same.

    Source: S. Kullback and R. A. Leibler, Annals of Mathematical Statistics 22(1), 1951.
    """
    return np.array(
        [
            np.mean([_output_divergence(a[name], b[name]) for name in a])
            for a, b in zip(original, variant, strict=True)
        ],
        dtype=np.float64,
    )


def _output_divergence(original: np.ndarray, variant: np.ndarray) -> float:
    if not np.issubdtype(original.dtype, np.floating):
        return float(np.mean(original != variant))
    a, b = original.astype(np.float64), variant.astype(np.float64)
    if a.ndim >= 2 and a.shape[1] >= 2:
        log_p, log_q = _log_probabilities(a), _log_probabilities(b)
        return float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1)))
    energy = float(np.sum(a**2)) or 1.0
    return float(np.sum((a - b) ** 2)) / energy


def _log_probabilities(scores: np.ndarray) -> np.ndarray:
    """Log-probabilities over axis 1, whether the model ends in a softmax or not."""
    sums = scores.sum(axis=1)
    if scores.min() >= 0 and np.all(np.abs(sums - 1) < _SUMS_TO_ONE):
        log_p: np.ndarray = np.log(np.clip(scores, 1e-12, None))
        return log_p
    log_q: np.ndarray = scores - logsumexp(scores, axis=1, keepdims=True)
    return log_q
