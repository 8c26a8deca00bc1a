"""Which strategies can be told from the best, measured in randomised complete blocks.

This is what a recommendation rests on, so the chance of *any* false claim of a difference in a
study is kept under ``alpha``:

- Only differences within a block count, so a machine that drifts between blocks does not matter.
- Where the order within each block was random, identical strategies are exchangeable within it
  whatever the noise, and blocks are as good as independent.
- Strategies with a memory of their own break that: the error of every pair allows for it, and for
  how little few blocks say of it (see :mod:`tierwise.stats.memory`).
- Holm's correction runs over *all* pairs, not only those with the best: which strategy looks best
  is itself read from the data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from jaxtyping import Float, Int, Shaped

from tierwise.errors import TooFewSamples
from tierwise.stats.block_pairs import (
    EQUIVALENCE_ALPHA,
    FEWEST_BLOCKS,
    adjusted_p,
    effective_blocks,
    own_memory,
)
from tierwise.stats.equivalence import equivalence
from tierwise.stats.median_interval import Interval, fewest_for_median
from tierwise.stats.memory import Memory

# Bound on the chance that a study claims any difference that is not there. Below the promised 5%,
# since the effective number of blocks is only an estimate (benchmarks/false_alarms.py).
ALPHA = 0.01


class Standing(Enum):
    """How a strategy stands to the one with the lowest median; the value is what people read."""

    BEST = "best"
    EQUIVALENT = "as fast as the best"
    NOT_TOLD_APART = "cannot be told from the best"
    BEATEN = "slower than another"
    SLIGHTLY_SLOWER = "slower, but by less than matters"
    SLOWER = "slower"

    @property
    def not_the_best(self) -> bool:
        """Whether some strategy is faster beyond noise: the best, or the best of its time."""
        return self in {Standing.BEATEN, Standing.SLIGHTLY_SLOWER, Standing.SLOWER}


@dataclass(frozen=True)
class Rank:
    """One strategy against the best.

    Attributes:
        name: Which strategy.
        median_s: Median of its blocks.
        standing: How it stands to the best.
        ratio: Interval of its latency over the best's, within blocks; 1 for the best itself.
        p_holm: Against the best, adjusted over all pairs of the study; 1 for the best itself.
        blocks: Blocks in which both were measured.
        effective_blocks: How many independent blocks those are worth.
        beaten_by: Where it is :attr:`Standing.BEATEN`: the best when it was left out, which it is
            shown to be slower than.
    """

    name: str
    median_s: float
    standing: Standing
    ratio: Interval
    p_holm: float
    blocks: int
    effective_blocks: int
    beaten_by: str | None = None


def block_values(
    latency_s: Mapping[str, Float[np.ndarray, " _"]], block: Mapping[str, Int[np.ndarray, " _"]]
) -> Float[np.ndarray, "n k"]:
    """The median of every strategy in every block, NaN where it was not measured.

    Args:
        latency_s: Latencies by strategy.
        block: The block of every latency, by the same names.
    """
    numbers = sorted({int(number) for blocks in block.values() for number in blocks})
    row = {number: i for i, number in enumerate(numbers)}
    values = np.full((len(numbers), len(latency_s)), np.nan)
    for column, (name, latencies) in enumerate(latency_s.items()):
        order = np.argsort(block[name], kind="stable")
        found, starts = np.unique(block[name][order], return_index=True)
        rows = [row[number] for number in found.tolist()]
        if len(rows) == len(latencies):
            values[rows, column] = latencies[order]
            continue
        parts = np.split(latencies[order], starts[1:])
        values[rows, column] = [np.median(part) for part in parts]
    return values


def compare_with_best(
    values_s: Float[np.ndarray, "n k"],
    names: Sequence[str],
    *,
    looks: int = 1,
    best: str | None = None,
    joined: Sequence[int] = (),
) -> tuple[Rank, ...]:
    """Tell which of ``k`` strategies are slower than the best beyond noise.

    A strategy may have been left out from some block on; its median is then set right by what the
    one with the most blocks did in the same blocks. Pairs with it are judged by the blocks until
    then: what a look has shown is not taken back for what others did later. So a strategy that was
    left out for being slower than one that is not the best any more is still not the best.

    Args:
        values_s: Latency of every block and strategy, in the order of the blocks; positive, NaN
            where a strategy was not measured. See :func:`block_values`.
        names: Of the strategies.
        looks: How often the blocks are looked at before it is decided to stop, this time
            included; every p-value is multiplied by it.
        best: Which strategy to compare with; ``None``: the one with the lowest median of those
            that were not left out for being slower.
        joined: The round in which each strategy joined, where that was planned round by round; a
            pair is corrected for the pairs that there were then.

    Returns:
        Every strategy, from the lowest median up.

    Raises:
        TooFewSamples: fewer than 8 blocks, or a strategy shares fewer than 8 with the best.
    """
    logs = np.log(values_s)
    adjusted, memories = _when_last_measured(logs, joined)
    adjusted = np.minimum(1.0, looks * adjusted)
    beaten_by: Mapping[int, int] = {}
    if best is None:
        best_column, beaten_by = _best_and_beaten(values_s, adjusted)
    else:
        best_column = list(names).index(best)
    shared = np.sum(np.isfinite(logs) & np.isfinite(logs[:, [best_column]]), axis=0)
    if shared.min() < FEWEST_BLOCKS:
        raise TooFewSamples(
            f"A comparison of {names[int(np.argmin(shared))]} with {names[best_column]} (blocks)",
            needed=FEWEST_BLOCKS,
            got=int(shared.min()),
        )
    medians_s = comparable_medians_s(values_s)
    ranks = []
    for i in np.argsort(medians_s, kind="stable").tolist():
        rank = _rank(
            values_s[:, [i, best_column]],
            names[i],
            float(medians_s[i]),
            float(adjusted[i, best_column]),
            is_best=i == best_column,
            memory=memories[i, best_column],
            looks=looks,
        )
        if rank.standing is Standing.NOT_TOLD_APART and i in beaten_by:
            rank = replace(rank, standing=Standing.BEATEN, beaten_by=names[beaten_by[i]])
        ranks.append(rank)
    return tuple(ranks)


def _best_and_beaten(
    values_s: Float[np.ndarray, "n k"], adjusted: Float[np.ndarray, "k k"]
) -> tuple[int, Mapping[int, int]]:
    """The best, and what was shown to be slower than the best of its time, with what that was.

    All are columns. What was shown to be slower is not the best later: it is not measured then,
    and what others do may set its median right by more than it was left out for.
    """
    ends = _ends(values_s)
    best, beaten_by = 0, dict[int, int]()
    for end in np.unique(ends):
        then = values_s[:end]
        known = np.flatnonzero(np.isfinite(then).sum(axis=0) >= FEWEST_BLOCKS)
        if not len(known):
            continue
        order = known[np.argsort(comparable_medians_s(then[:, known]), kind="stable")]
        best = next((i for i in order.tolist() if i not in beaten_by), best)
        for i in np.flatnonzero((ends == end) & (adjusted[best] < ALPHA)).tolist():
            if np.nanmedian(then[:, i] / then[:, best]) > 1:
                beaten_by[i] = best
    return best, beaten_by


def _ends(values: Float[np.ndarray, "n k"]) -> Int[np.ndarray, " k"]:
    """How many blocks there were when each strategy was last measured."""
    ends: np.ndarray = len(values) - np.argmax(np.isfinite(values[::-1]), axis=0)
    return ends


def _when_last_measured(
    logs: Float[np.ndarray, "n k"], joined: Sequence[int]
) -> tuple[Float[np.ndarray, "k k"], Shaped[np.ndarray, "k k"]]:
    """Adjusted p of every pair, and the :class:`Memory` that it is by.

    Of the blocks until the first of the two was left out.
    """
    k, ends = logs.shape[1], _ends(logs)
    until = np.minimum(ends, ends[:, None])
    adjusted, memories = np.ones((k, k)), np.empty((k, k), dtype=object)
    for end in np.unique(ends):
        memory = own_memory(logs[:end])
        pairs = until == end
        adjusted[pairs] = adjusted_p(logs[:end], memory, joined)[pairs]
        memories[pairs] = memory
    return adjusted, memories


def comparable_medians_s(values_s: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Median of every strategy, as if each had been measured in every block.

    What a machine's drift did in the blocks that a strategy has is taken from the strategy with the
    most blocks. Where all have the same blocks these are their medians.
    """
    there = np.isfinite(values_s)
    medians_s: np.ndarray = np.nanmedian(values_s, axis=0)
    counts = there.sum(axis=0)
    reference = int(np.lexsort((medians_s, -counts))[0])
    drift = np.ones(len(medians_s))
    for i in np.flatnonzero(counts < counts[reference]):
        both = there[:, i] & there[:, reference]
        if both.any():
            drift[i] = np.median(values_s[both, reference]) / medians_s[reference]
    return medians_s / drift


def _rank(
    pair_s: Float[np.ndarray, "n 2"],
    name: str,
    median_s: float,
    p_holm: float,
    *,
    is_best: bool,
    memory: Memory,
    looks: int,
) -> Rank:
    both = pair_s[np.isfinite(pair_s).all(axis=1)]
    n = len(both)
    if is_best:
        return Rank(name, median_s, Standing.BEST, Interval(1.0, 1.0, 1.0, 1.0), 1.0, n, n)
    log_ratio = np.log(both[:, 0] / both[:, 1])
    worth = effective_blocks(log_ratio, memory, EQUIVALENCE_ALPHA)
    near = equivalence(both[:, 0], both[:, 1], alpha=EQUIVALENCE_ALPHA, effective_n=worth)
    holds = near.holds
    if holds and looks > 1:
        strict = EQUIVALENCE_ALPHA / looks
        counted = effective_blocks(log_ratio, memory, strict)
        holds = (
            counted >= fewest_for_median(1 - 2 * strict)
            and equivalence(both[:, 0], both[:, 1], alpha=strict, effective_n=counted).holds
        )
    # What is faster in most blocks and yet has the higher median differs, but is not slower.
    if p_holm < ALPHA and near.ratio.estimate > 1:
        standing = Standing.SLIGHTLY_SLOWER if holds else Standing.SLOWER
    else:
        standing = Standing.EQUIVALENT if holds else Standing.NOT_TOLD_APART
    return Rank(name, median_s, standing, near.ratio, p_holm, n, worth)
