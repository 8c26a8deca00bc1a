"""Time of a segment on a tier where it was not measured: from other tiers, or from its share."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tierwise.operators.strategy import Strategy

# A variant, its cuts, and which of the segments between them.
Segment = tuple[str, tuple[str, ...], int]
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
        self._equations = sum(
            (self._equation(of) for of in self._by_segment.values()), self._equation(())
        )

    def predict_s(self, strategy: Strategy, *, without: int) -> float | None:
        """Seconds that ``strategy`` computes for; ``None`` where nothing says.

        Every segment takes the median of what was measured of it on that tier; else of the other
        tiers, scaled by the ratio of their speeds; else its share of the whole variant there.

        Args:
            strategy: What to predict.
            without: Number of a strategy whose measurements must not be used.
        """
        speed = self._speeds(without)
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
        return float(np.median(here)) if here else None

    def _speeds(self, without: int) -> dict[str, float]:
        """Relative seconds of the same work on every tier; least squares of logarithms.

        Only of tiers that common segments connect with the first of them.
        """
        equations = self._equations
        for segment in self._by_strategy.get(without, ()):
            of = self._by_segment[segment]
            kept = [s for s in of if s.strategy != without]
            equations = equations - self._equation(of) + self._equation(kept)
        gram, right = equations[:, :-1], equations[:, -1]
        joined = np.abs(gram) > 1e-12
        if not joined.any():
            return {}
        levels = np.linalg.lstsq(gram, right, rcond=None)[0]
        reached = {int(np.flatnonzero(joined.any(axis=1))[0])}
        for _ in self._tiers:
            reached |= {int(j) for i in reached for j in np.flatnonzero(joined[i])}
        return {self._tiers[i]: float(np.exp(levels[i])) for i in reached}

    def _equation(self, samples: Iterable[ComputeSample]) -> np.ndarray:
        """What one segment says of the tiers: normal equations, right-hand side as last column."""
        by_tier: dict[int, list[float]] = defaultdict(list)
        for sample in samples:
            by_tier[self._tiers.index(sample.tier)].append(max(sample.seconds, 1e-9))
        equation = np.zeros((len(self._tiers), len(self._tiers) + 1))
        if len(by_tier) > 1:
            places = list(by_tier)
            logs = np.log([float(np.median(seconds)) for seconds in by_tier.values()])
            # A long segment says more about a tier than one that is mostly overhead.
            weight = float(np.exp(logs.mean()))
            equation[np.ix_(places, places)] = weight * (np.eye(len(places)) - 1 / len(places))
            equation[places, -1] = weight * (logs - logs.mean())
        return equation
