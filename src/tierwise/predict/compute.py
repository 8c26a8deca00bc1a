"""Time of a segment on a tier where it was not measured: from other tiers, or from its share."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from tierwise.operators.strategy import Strategy

# A variant, its cuts, and which of the segments between them.
Segment = tuple[str, tuple[str, ...], int]
# Below every time that a clock tells, and below every weight of an equation.
_SHORTEST_S, _NOTHING = 1e-9, 1e-12
Shares = Mapping[tuple[str, tuple[str, ...]], Sequence[float]]


@dataclass(frozen=True)
class ComputeSample:
    """A segment's measured time on a tier, and the number of the strategy that it ran in."""

    segment: Segment
    tier: str
    seconds: float
    strategy: int


class ComputeTable:
    """Measured times of segments on tiers, and what follows for others."""

    def __init__(
        self, samples: Iterable[ComputeSample], tiers: Sequence[str], shares: Shares
    ) -> None:
        """Take what was measured.

        Args:
            samples: Of measured strategies.
            tiers: Names of the tiers.
            shares: By variant and cuts, the share of the whole variant's compute that each segment
                has, from a profile (kernel times or MACs); may be empty.
        """
        self._tiers = tuple(tiers)
        self._shares = shares
        self._by_segment: dict[Segment, list[ComputeSample]] = defaultdict(list)
        self._by_strategy: dict[int, set[Segment]] = defaultdict(set)
        for sample in samples:
            self._by_segment[sample.segment].append(sample)
            self._by_strategy[sample.strategy].add(sample.segment)
        self._speed = self._speeds_without()

    def predict_s(self, strategy: Strategy, *, without: int) -> float | None:
        """Seconds that ``strategy`` computes for; ``None`` where nothing says.

        Every segment takes the median of what was measured of it on that tier; else of the other
        tiers, scaled by the ratio of their speeds; else its share of the whole variant there.

        Args:
            strategy: What to predict.
            without: Number of a strategy whose measurements must not be used.
        """
        speed = self._speed[without if without in self._speed else None]
        shares = self._shares.get((strategy.variant, strategy.cuts), ())
        total_s = 0.0
        for index, tier in enumerate(strategy.tiers):
            segment = (strategy.variant, strategy.cuts, index)
            seconds = self._on_tier(segment, tier, speed, without)
            if seconds is None and index < len(shares):
                whole_s = self._on_tier((strategy.variant, (), 0), tier, speed, without)
                seconds = None if whole_s is None else whole_s * shares[index]
            if seconds is None:
                return None
            total_s += seconds
        return total_s

    def _on_tier(
        self, segment: Segment, tier: str, speed: Mapping[str, float], without: int
    ) -> float | None:
        used = [s for s in self._by_segment.get(segment, ()) if s.strategy != without]
        here = [s.seconds for s in used if s.tier == tier]
        if not here and tier in speed:
            here = [s.seconds * speed[tier] / speed[s.tier] for s in used if s.tier in speed]
        return median(here) if here else None

    def _speeds_without(self) -> dict[int | None, dict[str, float]]:
        """Relative seconds of the same work on every tier; least squares of logarithms.

        By the strategy that is left out, and with none left out. Only of tiers that common segments
        connect with the first of them. All are solved for at once: one by one they took most of the
        time of a fit.
        """
        whole = np.zeros((len(self._tiers), len(self._tiers) + 1))
        for of in self._by_segment.values():
            whole += self._equation(of)
        left: list[int | None] = [None, *self._by_strategy]
        equations = np.repeat(whole[None], len(left), axis=0)
        for place, strategy in enumerate(self._by_strategy, 1):
            for segment in self._by_strategy[strategy]:
                of = self._by_segment[segment]
                kept = [s for s in of if s.strategy != strategy]
                equations[place] += self._equation(kept) - self._equation(of)
        gram, right = equations[..., :-1], equations[..., -1:]
        levels = (np.linalg.pinv(gram, hermitian=True) @ right)[..., 0]
        return {
            strategy: self._connected(joined, seconds)
            for strategy, joined, seconds in zip(
                left, np.abs(gram) > _NOTHING, np.exp(levels), strict=True
            )
        }

    def _connected(self, joined: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
        """Of the tiers that equations join with the first one that is in any."""
        present = np.flatnonzero(joined.any(axis=1))
        if not len(present):
            return {}
        reached = np.zeros(len(self._tiers), dtype=bool)
        reached[present[0]] = True
        for _ in self._tiers:
            reached |= joined[reached].any(axis=0)
        return {self._tiers[i]: float(seconds[i]) for i in np.flatnonzero(reached).tolist()}

    def _equation(self, samples: Sequence[ComputeSample]) -> np.ndarray:
        """What one segment says of the tiers: normal equations, right-hand side as last column."""
        equation = np.zeros((len(self._tiers), len(self._tiers) + 1))
        by_tier: dict[int, list[float]] = defaultdict(list)
        for sample in samples:
            by_tier[self._tiers.index(sample.tier)].append(max(sample.seconds, _SHORTEST_S))
        if len(by_tier) > 1:
            logs = [math.log(median(seconds)) for seconds in by_tier.values()]
            middle = sum(logs) / len(logs)
            # A long segment says more about a tier than one that is mostly overhead.
            weight = math.exp(middle)
            for i, log in zip(by_tier, logs, strict=True):
                equation[i, -1] = weight * (log - middle)
                for j in by_tier:
                    equation[i, j] = weight * ((i == j) - 1 / len(logs))
        return equation
