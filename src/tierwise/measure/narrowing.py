"""Fewer trials at every look: blocks go on only with those that could still be the best.

Looks are planned before the first block, and every test is corrected for their number
(Bonferroni), so stopping, or leaving a trial out, when a test says so cannot raise the chance of a
false claim above what one test at the end would have. Source: C. Jennison and B. W. Turnbull, Group
Sequential Methods with Applications to Clinical Trials, 1999: theirs are sharper boundaries.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tierwise.errors import TooFewSamples
from tierwise.measure.sample import Block
from tierwise.stats.block_pairs import EQUIVALENCE_ALPHA, FEWEST_BLOCKS
from tierwise.stats.futility import chance_to_decide
from tierwise.stats.verdict import ALPHA, Rank, Standing, block_values, compare_with_best

# heuristic: blocks that settle a question once in five times are not worth their time.
_WORTH = 0.2


@dataclass(frozen=True)
class Look:
    """What a look showed.

    Attributes:
        finished: Ids of trials that need no further block.
        enough: Whether every contender is slower than the best, or as fast as it, or not expected
            to be told from it.
        open: Whether there are some of the last kind.
        last: Whether no further look is planned.
    """

    finished: frozenset[str]
    enough: bool
    open: bool
    last: bool


class Narrowing:
    """Which trials of a condition need more blocks.

    A contender is finished when it is shown to be slower than the best, or when the blocks that are
    left are not expected to tell it from the best (:mod:`tierwise.stats.futility`); what else is
    measured, at the first look of its round.
    """

    def __init__(
        self,
        contenders: Collection[str] | Mapping[str, int],
        looks: Sequence[int],
        *,
        tests: int,
        least_blocks: int = 0,
    ) -> None:
        """Plan the looks.

        Args:
            contenders: Ids of the trials among which the best is looked for, or the round in which
                each of them joined.
            looks: Numbers of finished blocks, rising, after which it is looked.
            tests: How many looks there are in all under this condition; at least their number.
            least_blocks: Blocks of the contenders below which it is never enough.
        """
        self._contenders = tuple(contenders)
        self._joined = (
            contenders if isinstance(contenders, Mapping) else dict.fromkeys(contenders, 0)
        )
        self._looks = tuple(looks)
        self._tests = tests
        self._least = least_blocks
        self._latency_s: dict[str, list[float]] = defaultdict(list)
        self._block: dict[str, list[int]] = defaultdict(list)
        self._given_up: set[str] = set()
        self._count = 0

    @property
    def most_blocks(self) -> int:
        """Number of blocks after which it ends in any case."""
        return self._looks[-1]

    def add(self, block: Block) -> Look | None:
        """Take in a finished block; what the look behind it showed, where one is planned."""
        self._count = block.index + 1
        for sample in block.samples:
            self._latency_s[sample.trial].append(sample.latency_s)
            self._block[sample.trial].append(sample.block)
        return self._look(block.order) if self._count in self._looks else None

    def _look(self, measured: Iterable[str]) -> Look:
        ranks = self._ranks()
        slower = {rank.name for rank in ranks if rank.standing.not_the_best}
        others = {name for name in measured if name not in self._contenders}
        ranked = {rank.name for rank in ranks}
        open_ = [n for n in self._contenders if n in self._block and n not in ranked]
        undecided = {rank.name for rank in ranks if rank.standing is Standing.NOT_TOLD_APART}
        blocks = max((len(set(self._block[n])) for n in self._contenders), default=0)
        if blocks >= self._least:
            self._given_up |= {rank.name for rank in ranks if self._futile(rank, len(ranks))}
        given_up = undecided & self._given_up
        return Look(
            finished=frozenset(slower | others | given_up),
            enough=undecided <= given_up and len(open_) <= (not ranks) and blocks >= self._least,
            open=bool(given_up),
            last=self._count >= self._looks[-1],
        )

    def _futile(self, rank: Rank, among: int) -> bool:
        """Whether the blocks that are left are not worth it."""
        left = self._looks[-1] - self._count
        if rank.standing is not Standing.NOT_TOLD_APART or left <= 0:
            return False
        chance = chance_to_decide(
            rank.ratio,
            rank.blocks,
            rank.blocks + left,
            alpha=ALPHA,
            equivalence_alpha=EQUIVALENCE_ALPHA,
            tests=self._tests,
            pairs=among * (among - 1) // 2,
        )
        return chance < _WORTH

    def standings(self) -> Mapping[str, Standing]:
        """Of every contender that shares enough blocks with the best; empty below two of them."""
        return {rank.name: rank.standing for rank in self._ranks()}

    def _ranks(self) -> Sequence[Rank]:
        names = [name for name in self._contenders if name in self._block]
        if len(names) < 2:
            return ()
        values_s = block_values(
            {name: np.array(self._latency_s[name]) for name in names},
            {name: np.array(self._block[name]) for name in names},
        )
        there = np.isfinite(values_s)
        most = int(np.argmax(there.sum(axis=0)))
        shared = (there & there[:, [most]]).sum(axis=0) >= FEWEST_BLOCKS
        if shared.sum() < 2:
            return ()
        kept = [name for name, enough in zip(names, shared, strict=True) if enough]
        try:
            joined = [self._joined[name] for name in kept]
            return compare_with_best(values_s[:, shared], kept, looks=self._tests, joined=joined)
        except TooFewSamples:
            return ()
