"""Which strategies differ, and which the samples cannot tell apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from tierwise.errors import TooFewSamples
from tierwise.stats.block_pairs import FEWEST_BLOCKS
from tierwise.stats.cliffs_delta import EffectSize, cliffs_delta, sorted_cliffs_delta
from tierwise.stats.conover import conover
from tierwise.stats.corrections import holm
from tierwise.stats.kruskal import kruskal_wallis, pool_ranks
from tierwise.stats.median_interval import Interval
from tierwise.stats.omnibus import Omnibus
from tierwise.stats.verdict import Standing, block_values, compare_with_best
from tierwise.store.results import TrialResult

NOBODY: Mapping[str, int] = MappingProxyType({})


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
    """A strategy against the fastest that meets the requirement, block by block.

    Attributes:
        best: Id of the strategy it was compared with.
        standing: How it stands to the best.
        effect: Cliff's delta against the best; positive: slower.
        ratio: Median over blocks of its latency divided by the best's, with its interval.
        blocks: Number of blocks that have both.
        p_holm: By :mod:`tierwise.stats.block_pairs`, Holm-adjusted over all pairs of strategies
            that meet the requirement.
        beaten_by: Where it is not told from the best, but from the best when it was left out: that
            one's id.
    """

    best: str
    standing: Standing
    effect: EffectSize
    ratio: Interval
    blocks: int
    p_holm: float
    beaten_by: str | None = None


def compare_all(
    trials: Sequence[TrialResult],
) -> tuple[Omnibus | None, tuple[Comparison, ...]]:
    """Kruskal-Wallis over all measured ``trials`` of a condition, and every pair of them.

    Pairs are in the order of ``trials``; both are empty below two trials.
    """
    if len(trials) < 2:
        return None, ()
    pooled = pool_ranks([trial.latency_s for trial in trials])
    ordered = [np.sort(trial.latency_s) for trial in trials]
    pairs = conover(pooled)
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
    return kruskal_wallis(pooled), compared


def fastest_and_rivals(
    trials: Sequence[TrialResult], looks: int = 1, contenders: Mapping[str, int] = NOBODY
) -> tuple[str, Mapping[str, BlockComparison]]:
    """The fastest of ``trials``, and how the others stand to it.

    Where contenders were chosen before anything was measured, they are compared among themselves
    first, which needs fewer pairs; what else was measured is compared with the fastest of them
    over all pairs. Others that share too few blocks with it to be compared are left out.

    Args:
        trials: Those that meet the requirement, fastest by median first; at least one.
        looks: How often it was looked at them while they were measured.
        contenders: Ids of those that were chosen as contenders, with the round in which each was;
            empty: no such choice was made.
    """
    among = [t for t in trials if t.strategy.id in contenders]
    if not among:
        return _ranked(trials, looks)
    best, rivals = _ranked(among, looks, contenders=contenders)
    if len(among) == len(trials):
        return best, rivals
    first = next(t for t in trials if t.strategy.id == best)
    rest = [t for t in trials if t.strategy.id != best]
    # What is no contender has as many blocks as were planned, whatever they showed: one look.
    _, every = _ranked([first, *rest], 1, best)
    return best, {**every, **rivals}


def compare_with(
    first: TrialResult,
    others: Sequence[TrialResult],
    looks: int,
    contenders: Mapping[str, int] = NOBODY,
) -> Mapping[str, BlockComparison]:
    """How ``others`` stand to ``first``, corrected for all pairs; without what shares too little.

    Args:
        first: What they are compared with.
        others: All that it was compared with while they were measured.
        looks: How often it was looked at them.
        contenders: As for :func:`fastest_and_rivals`.
    """
    return _ranked([first, *others], looks, first.strategy.id, contenders=contenders)[1]


def _ranked(
    trials: Sequence[TrialResult],
    looks: int,
    best: str | None = None,
    *,
    contenders: Mapping[str, int] = NOBODY,
) -> tuple[str, Mapping[str, BlockComparison]]:
    """The fastest, or the one that is said to be, and how the others stand to it."""
    shared = [t for t in trials if len(np.intersect1d(t.block, trials[0].block)) >= FEWEST_BLOCKS]
    if len(shared) < 2:
        return trials[0].strategy.id, {}
    names = [trial.strategy.id for trial in shared]
    values_s = block_values(
        {t.strategy.id: t.latency_s for t in shared}, {t.strategy.id: t.block for t in shared}
    )
    try:
        ranks = compare_with_best(
            values_s,
            names,
            looks=looks,
            best=best,
            joined=[contenders.get(name, 0) for name in names],
        )
    except TooFewSamples:
        # The best by its blocks is another than by its samples, and shares too few with some.
        return trials[0].strategy.id, {}
    by_id = dict(zip(names, shared, strict=True))
    first = by_id[best or next(r.name for r in ranks if r.standing is Standing.BEST)]
    return first.strategy.id, {
        rank.name: BlockComparison(
            first.strategy.id,
            rank.standing,
            cliffs_delta(by_id[rank.name].latency_s, first.latency_s),
            rank.ratio,
            rank.blocks,
            rank.p_holm,
            rank.beaten_by,
        )
        for rank in ranks
        if rank.name != first.strategy.id
    }
