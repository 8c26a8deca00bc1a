"""The measured trials of a study as arrays: what every fit starts from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from tierwise.errors import NotAStudyError
from tierwise.operators.strategy import Strategy
from tierwise.stats.median_interval import fewest_for_median, median_ranks
from tierwise.store.results import StudyResults, TrialResult, TrialState
from tierwise.tiers.topology import NetworkCondition


@dataclass(frozen=True)
class MeasuredTrials:
    """Trials with samples, those of the profile among them.

    Attributes:
        strategies: All of the study, measured or not.
        trials: Those with samples.
        of: The strategy of each, from 0.
        conditions: Under which there are some; the profile's is one.
        at: The condition of each, from 0.
    """

    strategies: tuple[Strategy, ...]
    trials: tuple[TrialResult, ...]
    of: Int[np.ndarray, " n"]
    conditions: tuple[NetworkCondition, ...]
    at: Int[np.ndarray, " n"]

    @classmethod
    def in_results(cls, results: StudyResults) -> "MeasuredTrials":
        """All of a study.

        Raises:
            NotAStudyError: There is none.
        """
        strategies = tuple(dict.fromkeys(t.strategy for t in results.trials))
        number = {strategy: index for index, strategy in enumerate(strategies)}
        trials = tuple(
            t
            for t in (*results.trials, *results.profile)
            if t.state is TrialState.MEASURED and len(t.latency_s) and t.strategy in number
        )
        if not trials:
            raise NotAStudyError(
                f"The study {results.name!r} has no measured trial to predict from.",
                hint="`tierwise run` measures them.",
            )
        conditions = tuple(dict.fromkeys(t.condition for t in trials))
        place = {condition: index for index, condition in enumerate(conditions)}
        return cls(
            strategies,
            trials,
            np.array([number[t.strategy] for t in trials]),
            conditions,
            np.array([place[t.condition] for t in trials]),
        )

    @cached_property
    def counts(self) -> Int[np.ndarray, " n"]:
        """Samples of every trial."""
        return np.array([len(trial.latency_s) for trial in self.trials])

    @cached_property
    def medians_s(self) -> Float[np.ndarray, " n"]:
        """Median latency of every trial."""
        return self._by_size([trial.latency_s for trial in self.trials], row_medians)

    @cached_property
    def transfers_s(self) -> Float[np.ndarray, " n"]:
        """Median seconds that every trial's requests were on their way; 0: nothing was sent."""
        sent = [
            sum(
                (s for part, s in trial.parts_s.items() if part.startswith("transfer@")),
                np.zeros(len(trial.latency_s)),
            )
            for trial in self.trials
        ]
        return self._by_size(sent, row_medians)

    @cached_property
    def half_widths_s(self) -> Float[np.ndarray, " n"]:
        """Half the interval of every trial's median, at 95% where it has enough samples."""

        def half(samples: Float[np.ndarray, "n size"]) -> Float[np.ndarray, " n"]:
            size = samples.shape[1]
            low, high = median_ranks(size) if size >= fewest_for_median() else (0, size - 1)
            ordered = np.sort(samples, axis=1)
            found: np.ndarray = (ordered[:, high] - ordered[:, low]) / 2
            return found

        return self._by_size([trial.latency_s for trial in self.trials], half)

    def _by_size(
        self, samples: Sequence[np.ndarray], figure: Callable[[np.ndarray], np.ndarray]
    ) -> Float[np.ndarray, " n"]:
        """``figure`` of each; one call for all that have as many samples."""
        found = np.zeros(len(samples))
        for size in np.unique(self.counts):
            alike = np.flatnonzero(self.counts == size)
            found[alike] = figure(np.stack([samples[i] for i in alike.tolist()]))
        return found


def row_medians(rows: Float[np.ndarray, "n size"]) -> Float[np.ndarray, " n"]:
    """Median of every row, without NaN; NumPy's own takes five times as long on small ones."""
    ordered, size = np.sort(rows, axis=1), rows.shape[1]
    middle: np.ndarray = (ordered[:, (size - 1) // 2] + ordered[:, size // 2]) / 2
    return middle
