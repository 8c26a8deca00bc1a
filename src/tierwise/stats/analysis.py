"""Everything that can be said of groups of samples, by the tests that the study used and Holm."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from jaxtyping import Float

from tierwise.errors import DataError
from tierwise.stats.bootstrap import FEWEST_VALUES, bootstrap_median
from tierwise.stats.cliffs_delta import EffectSize, Magnitude, paired_delta, sorted_cliffs_delta
from tierwise.stats.conover import PairP, conover
from tierwise.stats.corrections import bonferroni, holm
from tierwise.stats.equivalence import equivalence
from tierwise.stats.friedman import conover_friedman, friedman, rank_within_blocks
from tierwise.stats.kruskal import kruskal_wallis, pool_ranks
from tierwise.stats.median_interval import Interval, fewest_for_median
from tierwise.stats.omnibus import Omnibus
from tierwise.stats.shapiro import LARGEST_N_OF_THE_P_VALUE
from tierwise.stats.summary import Summary, summarize
from tierwise.stats.wilcoxon import wilcoxon


@dataclass(frozen=True)
class Comparison:
    """One pair of groups.

    Attributes:
        a: Name of the first group.
        b: Name of the second.
        p_raw: Unadjusted p-value; 0 where it underflows.
        log10_p_raw: Its base-10 logarithm, exact where ``p_raw`` is 0.
        p_holm: Adjusted by Holm over all pairs: the one to decide by.
        p_bonferroni: Adjusted by Bonferroni over all pairs.
        cliffs_delta: Positive: ``a`` tends to be larger. Within blocks: the paired delta.
        magnitude: Of the effect, in words.
    """

    a: str
    b: str
    p_raw: float
    log10_p_raw: float
    p_holm: float
    p_bonferroni: float
    cliffs_delta: float
    magnitude: Magnitude


@dataclass(frozen=True)
class PairedComparison:
    """One pair of groups, block against block.

    Attributes:
        a: Name of the first group.
        b: Name of the second.
        p_raw: Wilcoxon's signed-rank test, two-sided.
        log10_p_raw: Its base-10 logarithm.
        p_holm: Adjusted by Holm over all pairs.
        method: ``"exact"`` or ``"normal"``, as it was computed.
        zeros: Blocks without a difference, left out.
        ties: Whether other differences are equal in size.
        ratio: Median of ``a / b``; ``None`` where a value is not positive or blocks are too few.
        ratio_low: Lower end of its 90% interval.
        ratio_high: Upper end.
        within_margin: Whether the two are shown to be within 3% of each other (TOST at 5%).
    """

    a: str
    b: str
    p_raw: float
    log10_p_raw: float
    p_holm: float
    method: str
    zeros: int
    ties: bool
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    within_margin: bool | None = None


@dataclass(frozen=True)
class Analysis:
    """What can be said of groups of samples.

    Attributes:
        summaries: By group name.
        omnibus: Kruskal-Wallis, and Friedman where there are blocks; empty for a single group.
        pairs: Conover's test and Cliff's delta of every pair, samples taken as independent.
        block_pairs: Conover's test after Friedman and the paired delta; empty without blocks.
        paired: Wilcoxon's test and the ratio of every pair; empty without blocks.
        intervals: 95% bootstrap intervals of every group's median over blocks; empty without
            blocks, or with fewer than 10.
        notes: What to know before believing it, in words.
    """

    summaries: Mapping[str, Summary]
    omnibus: tuple[Omnibus, ...]
    pairs: tuple[Comparison, ...]
    block_pairs: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()
    paired: tuple[PairedComparison, ...] = ()
    intervals: Mapping[str, Interval] = field(default_factory=dict)


def analyze(
    groups: Mapping[str, Float[np.ndarray, " _"]],
    blocks: Mapping[str, Sequence[str]] | None = None,
) -> Analysis:
    """Compare ``groups``, each of finite samples.

    Args:
        groups: Samples by name.
        blocks: The block of every sample, by the same names. Blocks that lack a group are left out
            of the block tests; several samples of a group in a block count by their median.

    Raises:
        TooFewSamples: a group has fewer than 2 samples.
        DataError: fewer than 2 blocks have samples of every group.
    """
    summaries = {name: summarize(samples) for name, samples in groups.items()}
    notes = _notes(summaries)
    if len(groups) < 2:
        return Analysis(summaries, (), (), (), (*notes, "One group: nothing to compare it with."))
    names, samples = list(groups), list(groups.values())
    pooled = pool_ranks(samples)
    ordered = [np.sort(group) for group in samples]
    effects = [sorted_cliffs_delta(a, b) for a, b in combinations(ordered, 2)]
    pairs = _compare(names, conover(pooled), effects)
    omnibus = [kruskal_wallis(pooled)]
    block_pairs: tuple[Comparison, ...] = ()
    paired: tuple[PairedComparison, ...] = ()
    intervals: dict[str, Interval] = {}
    if blocks:
        values, left_out, repeated = block_matrix(groups, blocks)
        ranked = rank_within_blocks(values)
        omnibus.append(friedman(ranked))
        columns = [paired_delta(a, b) for a, b in combinations(values.T, 2)]
        block_pairs = _compare(names, conover_friedman(ranked), columns)
        paired = _pair_up(names, values)
        if len(values) >= FEWEST_VALUES:
            intervals = {
                name: bootstrap_median(column) for name, column in zip(names, values.T, strict=True)
            }
        if left_out:
            notes.append(f"{left_out} blocks without a sample of every group are left out.")
        if repeated:
            notes.append(
                "Blocks repeat: the samples of a group are not independent, so the p-values of "
                "the tests without blocks are too small. Decide by Friedman's."
            )
    return Analysis(summaries, tuple(omnibus), pairs, block_pairs, tuple(notes), paired, intervals)


def _notes(summaries: Mapping[str, Summary]) -> list[str]:
    notes = []
    if any(summary.shapiro_w is None for summary in summaries.values()):
        notes.append("Shapiro-Wilk has no meaning below 3 samples or where all are equal.")
    if any(summary.n > LARGEST_N_OF_THE_P_VALUE for summary in summaries.values()):
        notes.append("Shapiro-Wilk's p is an extrapolation above 5,000 samples.")
    if any(summary.n < 5 for summary in summaries.values()):
        notes.append("Groups of fewer than 5 samples: the p-values are rough.")
    return notes


def block_matrix(
    groups: Mapping[str, Float[np.ndarray, " _"]], blocks: Mapping[str, Sequence[str]]
) -> tuple[Float[np.ndarray, "n k"], int, bool]:
    """The median of every group in every complete block.

    Returns:
        The medians; how many blocks lack a group; whether a block has several samples of a group.

    Raises:
        DataError: fewer than 2 blocks are complete.
    """
    medians: list[dict[str, float]] = []
    repeated = False
    for name, samples in groups.items():
        members = defaultdict(list)
        for label, sample in zip(blocks[name], samples, strict=True):
            members[label].append(sample)
        repeated = repeated or len(members) < len(samples)
        medians.append({label: float(np.median(values)) for label, values in members.items()})
    every = dict.fromkeys(label for column in medians for label in column)
    complete = [label for label in every if all(label in column for column in medians)]
    if len(complete) < 2:
        raise DataError(
            f"{len(complete)} of {len(every)} blocks have a sample of each of the "
            f"{len(groups)} groups; at least 2 are needed.",
            hint="Name with --block the column that says which samples belong together, such as "
            "the input.",
        )
    values = np.array([[column[label] for column in medians] for label in complete])
    return values, len(every) - len(complete), repeated


def _pair_up(
    names: Sequence[str], values: Float[np.ndarray, "n k"]
) -> tuple[PairedComparison, ...]:
    """Wilcoxon's test and the ratio of every pair of columns."""
    columns = list(zip(names, values.T, strict=True))
    tests = [wilcoxon(a, b) for (_, a), (_, b) in combinations(columns, 2)]
    adjusted = holm(np.array([test.p for test in tests]))
    with_ratio = bool((values > 0).all()) and len(values) >= fewest_for_median(0.9)
    found = []
    for (a, b), test, p_holm in zip(combinations(columns, 2), tests, adjusted, strict=True):
        near = equivalence(a[1], b[1]) if with_ratio else None
        found.append(
            PairedComparison(
                a=a[0],
                b=b[0],
                p_raw=test.p,
                log10_p_raw=test.log10_p,
                p_holm=float(p_holm),
                method=test.method,
                zeros=test.zeros,
                ties=test.ties,
                ratio=None if near is None else near.ratio.estimate,
                ratio_low=None if near is None else near.ratio.low,
                ratio_high=None if near is None else near.ratio.high,
                within_margin=None if near is None else near.holds,
            )
        )
    return tuple(found)


def _compare(
    names: Sequence[str], pairs: Sequence[PairP], effects: Sequence[EffectSize]
) -> tuple[Comparison, ...]:
    p = np.array([pair.p for pair in pairs])
    return tuple(
        Comparison(
            a=names[pair.a],
            b=names[pair.b],
            p_raw=pair.p,
            log10_p_raw=pair.log10_p,
            p_holm=float(p_holm),
            p_bonferroni=float(p_bonferroni),
            cliffs_delta=effect.delta,
            magnitude=effect.magnitude,
        )
        for pair, effect, p_holm, p_bonferroni in zip(
            pairs, effects, holm(p), bonferroni(p), strict=True
        )
    )
