"""Cliff's delta: how far apart two groups are, whatever their sizes make significant."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float

from tierwise.errors import TooFewSamples


class Magnitude(Enum):
    """How large an effect is, in words."""

    NEGLIGIBLE = "negligible"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


# Romano, Kromrey, Coraggio, Skowronek, 2006; the study uses the same limits.
_LIMITS = (
    (0.147, Magnitude.NEGLIGIBLE),
    (0.33, Magnitude.SMALL),
    (0.474, Magnitude.MEDIUM),
)


@dataclass(frozen=True)
class EffectSize:
    """Cliff's delta in [-1, 1]; positive: the first group tends to be larger (slower)."""

    delta: float

    @property
    def magnitude(self) -> Magnitude:
        """In words, at the limits 0.147, 0.33 and 0.474 of Romano et al., 2006."""
        size = abs(self.delta)
        for limit, magnitude in _LIMITS:
            if size < limit:
                return magnitude
        return Magnitude.LARGE


def cliffs_delta(a_s: Float[np.ndarray, " m"], b_s: Float[np.ndarray, " n"]) -> EffectSize:
    """Effect size of the latencies ``a_s`` against ``b_s``, in [-1, 1].

    Positive: ``a_s`` tends to be slower. For independent samples; for requests paired by input
    use :func:`paired_delta`. O((m + n) log(m + n)).

    Args:
        a_s: Latencies in seconds, warm-up removed, finite.
        b_s: The same for the baseline.

    Raises:
        TooFewSamples: a sample is empty (``.needed``, ``.got``).

    Source: N. Cliff, Psychological Bulletin 114(3), 1993.
    """
    return sorted_cliffs_delta(np.sort(a_s), np.sort(b_s))


def sorted_cliffs_delta(a: Float[np.ndarray, " m"], b: Float[np.ndarray, " n"]) -> EffectSize:
    """:func:`cliffs_delta` of groups that are already sorted: what many pairs can share."""
    fewest = min(len(a), len(b))
    if fewest < 1:
        raise TooFewSamples("Cliff's delta", needed=1, got=fewest)
    below = int(np.searchsorted(b, a, side="left").sum())
    not_above = int(np.searchsorted(b, a, side="right").sum())
    pairs = len(a) * len(b)
    # #(b < a) - #(b > a), in whole numbers: exact up to the one division.
    return EffectSize((below + not_above - pairs) / pairs)


def paired_delta(a_s: Float[np.ndarray, " n"], b_s: Float[np.ndarray, " n"]) -> EffectSize:
    """Share of pairs in which ``a_s`` is slower, minus the share in which it is faster.

    Cliff's delta within pairs: ``a_s[i]`` and ``b_s[i]`` carried the same input.

    Raises:
        TooFewSamples: there are no pairs.

    Source: N. Cliff, Ordinal Methods for Behavioral Data Analysis, 1996, chapter 6 (``d_w``).
    """
    if len(a_s) < 1:
        raise TooFewSamples("A paired delta", needed=1, got=0)
    return EffectSize(float(np.mean(np.sign(a_s - b_s))))
