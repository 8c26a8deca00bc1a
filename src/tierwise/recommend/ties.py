"""Which strategies differ, and which the samples cannot tell apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import wilcoxon

from tierwise.recommend.latency import median_range
from tierwise.stats.cliffs_delta import EffectSize, cliffs_delta, sorted_cliffs_delta
from tierwise.stats.conover import conover
from tierwise.stats.corrections import holm
from tierwise.stats.kruskal import kruskal_wallis
from tierwise.stats.omnibus import Omnibus
from tierwise.store.results import TrialResult

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two strategies under one condition, by the study's own tests: samples as independent.

    Attributes:
        a: Strategy id.
        b: Strategy id.
        effect: Cliff's delta of ``a`` against ``b``; positive: ``a`` is slower.
        p: Conover's p-value after Kruskal-Wallis.
        log10_p: Its base-10 logarithm, exact where ``p`` underflows.
        p_holm: Holm-adjusted over all pairs of the condition.
    """

    a: str
    b: str
    effect: EffectSize
    p: float
    log10_p: float
    p_holm: float


@dataclass(frozen=True)
class BlockComparison:
    """A strategy against the best one, block by block: what a verdict of a tie rests on.

    Attributes:
        best: Id of the strategy it was compared with.
        effect: Cliff's delta against the best; positive: slower.
        ratio: Median over blocks of its latency divided by the best's; ``None``: no block has both.
        ratio_low: Lower end of its 95% interval.
        ratio_high: Upper end.
        blocks: Number of blocks that have both.
        p: Wilcoxon's signed-rank test of the log ratios.
        p_holm: Holm-adjusted over all strategies that were compared with the best for the verdict.
    """

    best: str
    effect: EffectSize
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    blocks: int
    p: float
    p_holm: float

    @property
    def told_apart(self) -> bool:
        """Whether the samples tell the two apart."""
        return self.p_holm < SIGNIFICANCE


def compare_all(
    trials: Sequence[TrialResult],
) -> tuple[Omnibus | None, tuple[Comparison, ...]]:
    """Kruskal-Wallis over all measured ``trials`` of a condition, and every pair of them.

    Pairs are in the order of ``trials``; both are empty below two trials.
    """
    if len(trials) < 2:
        return None, ()
    groups = [trial.latency_s for trial in trials]
    ordered = [np.sort(group) for group in groups]
    pairs = conover(groups)
    adjusted = holm(np.array([pair.p for pair in pairs]))
    compared = tuple(
        Comparison(
            trials[pair.a].strategy.id,
            trials[pair.b].strategy.id,
            sorted_cliffs_delta(ordered[pair.a], ordered[pair.b]),
            pair.p,
            pair.log10_p,
            float(p_holm),
        )
        for pair, p_holm in zip(pairs, adjusted, strict=True)
    )
    return kruskal_wallis(groups), compared


def against(best: TrialResult, others: Sequence[TrialResult]) -> Mapping[str, BlockComparison]:
    """How each of ``others`` stands against ``best``, Holm-adjusted over exactly these.

    Paired by block: all trials of a block carry the same input and see the same machine, so what
    slows both does not hide or fake a difference.
    """
    of_best = _by_block(best)
    log_ratios = [_log_ratios(_by_block(other), of_best) for other in others]
    p = np.array([signed_rank_p(log_ratio) for log_ratio in log_ratios])
    found = {}
    for other, log_ratio, p_raw, p_holm in zip(others, log_ratios, p, holm(p), strict=True):
        ratio, low, high = _ratio(log_ratio)
        found[other.strategy.id] = BlockComparison(
            best.strategy.id,
            cliffs_delta(other.latency_s, best.latency_s),
            ratio,
            low,
            high,
            len(log_ratio),
            float(p_raw),
            float(p_holm),
        )
    return found


def signed_rank_p(differences: Float[np.ndarray, " n"]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; 1 where nothing differs.

    Source: F. Wilcoxon, Biometrics Bulletin 1(6), 1945; zeros dropped, exact for few blocks.
    """
    nonzero = differences[differences != 0]
    if len(nonzero) == 0:
        return 1.0
    distinct = len(np.unique(np.abs(nonzero))) == len(nonzero)
    method = "exact" if distinct and len(nonzero) <= 50 else "approx"
    return float(wilcoxon(nonzero, method=method).pvalue)


def _by_block(trial: TrialResult) -> Mapping[int, float]:
    """Median latency of each block: a block may hold several requests of a trial."""
    blocks, where = np.unique(trial.block, return_inverse=True)
    if len(blocks) == len(trial.block):
        return dict(zip(trial.block.tolist(), trial.latency_s.tolist(), strict=True))
    return {
        int(block): float(np.median(trial.latency_s[where == i])) for i, block in enumerate(blocks)
    }


def _log_ratios(a: Mapping[int, float], b: Mapping[int, float]) -> Float[np.ndarray, " n"]:
    shared = sorted(a.keys() & b.keys())
    return np.log([a[block] / b[block] for block in shared])


def _ratio(
    log_ratio: Float[np.ndarray, " n"],
) -> tuple[float, float, float] | tuple[None, None, None]:
    if not len(log_ratio):
        return None, None, None
    low, high = median_range(log_ratio)
    return float(np.exp(np.median(log_ratio))), float(np.exp(low)), float(np.exp(high))
