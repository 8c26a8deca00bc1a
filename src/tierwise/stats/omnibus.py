"""The answer of a test over all groups at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Omnibus:
    """Whether any of ``k`` groups differs.

    Attributes:
        test: ``"kruskal-wallis"`` or ``"friedman"``.
        k: Number of groups.
        n: Number of samples (Kruskal-Wallis) or of complete blocks (Friedman).
        statistic: H, or Friedman's chi-squared; both corrected for ties.
        p: Its p-value; 0 where it underflows.
        log10_p: Base-10 logarithm of the p-value, exact where ``p`` is 0.
    """

    test: str
    k: int
    n: int
    statistic: float
    p: float
    log10_p: float
