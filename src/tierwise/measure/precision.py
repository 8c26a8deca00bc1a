"""How sure the medians are so far: what the stopping rule looks at after every block."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from tierwise.measure.sample import Block
from tierwise.stats.median_interval import Interval, fewest_for_median, median_interval


class Precision:
    """Intervals of every trial's median, kept up to date block by block.

    Requests with the same input are not independent, so the interval is clustered by input: each
    input counts once, by the median of its blocks, and a block by the median of its requests.
    """

    def __init__(self, confidence: float, blocks: Iterable[Block] = ()) -> None:
        """Start from ``blocks`` that are already there."""
        self._confidence = confidence
        self._medians_s: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for block in blocks:
            self.add(block)

    def add(self, block: Block) -> None:
        """Take in a finished block."""
        by_trial = defaultdict(list)
        for sample in block.samples:
            by_trial[sample.trial].append(sample.latency_s)
        for trial, latencies_s in by_trial.items():
            self._medians_s[trial][block.input_index].append(float(np.median(latencies_s)))

    def intervals(self) -> Mapping[str, Interval]:
        """By trial id; trials with too few inputs for an interval are left out."""
        needed = fewest_for_median(self._confidence)
        return {
            trial: median_interval(
                np.array([np.median(medians_s) for medians_s in by_input.values()]),
                self._confidence,
            )
            for trial, by_input in self._medians_s.items()
            if len(by_input) >= needed
        }

    def within(self, target_relative_width: float, trials: Iterable[str]) -> bool:
        """Whether the interval of each of ``trials`` is there and narrow enough."""
        intervals = self.intervals()
        return all(
            trial in intervals and intervals[trial].relative_width <= target_relative_width
            for trial in trials
        )
