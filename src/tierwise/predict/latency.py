"""The latency of every strategy under any network condition, from a study's measured trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tierwise.errors import NotAStudyError
from tierwise.operators.strategy import Strategy
from tierwise.predict.compute import ComputeSample, ComputeTable, Shares
from tierwise.predict.network import (
    BURSTS_BYTES,
    NetworkFit,
    choose_fit,
    fit_network,
    rtts_s,
    seconds_per_bit,
)
from tierwise.predict.traffic import Traffic, traffic_of
from tierwise.stats.median_interval import fewest_for_median, median_interval
from tierwise.store.results import StudyResults, TrialResult, TrialState
from tierwise.tiers.topology import NetworkCondition

COVERAGE = 0.95
# heuristic: where no residual can be had (a single strategy, or none that sends), the error that
# an interval allows for, as a share of what the network adds.
_ERROR_UNKNOWN = 0.15


@dataclass(frozen=True)
class Predictions:
    """Median latencies in seconds, one row a strategy, one column a condition.

    Rows of strategies that cannot be predicted are NaN.
    """

    low_s: Float[np.ndarray, "s c"]
    median_s: Float[np.ndarray, "s c"]
    high_s: Float[np.ndarray, "s c"]


@dataclass(frozen=True)
class LatencyModel:
    """Median latency = what is the strategy's own + what the network adds.

    Attributes:
        strategies: In the order of every array.
        links: Names of the links, in the order of columns.
        own_s: Seconds without the network; NaN where nothing says.
        measured: Whether the strategy was measured under some condition.
        traffic: What every strategy sends over which link, beyond the fit's burst.
        network: What the network adds.
        anchor_s: What the network added, on average, where the strategy was measured.
        own_half_s: Half the interval of ``own_s``, from the spread of samples.
        condition_error: Relative error of predicting a measured strategy under a condition it was
            not used under, at :data:`COVERAGE`; ``None`` with a single condition.
        network_error: Relative error of what the network adds, at :data:`COVERAGE`.
        strategy_error: Relative error of a strategy that was never measured, at :data:`COVERAGE`;
            ``None`` where no strategy could be left out.
        errors: All relative errors of strategies left out, for reports and benchmarks.
    """

    strategies: tuple[Strategy, ...]
    links: tuple[str, ...]
    own_s: Float[np.ndarray, " s"]
    measured: Bool[np.ndarray, " s"]
    traffic: Traffic
    network: NetworkFit
    anchor_s: Float[np.ndarray, " s"]
    own_half_s: Float[np.ndarray, " s"]
    condition_error: float | None
    network_error: float
    strategy_error: float | None
    errors: Float[np.ndarray, " n"]

    def predict(self, conditions: Sequence[NetworkCondition]) -> Predictions:
        """Every strategy under every condition; O(strategies x conditions x links), vectorised.

        The interval of a strategy that was measured adds, as squares: the interval of its own
        part; the error that leaving out a condition showed; and, for the *change* of what the
        network adds since where it was measured, the error that leaving out a strategy showed. Of
        one that was never measured it is the error that leaving out a strategy showed, of all.
        """
        network_s = self._network_s(conditions)
        median_s = self.own_s[:, None] + network_s
        half_s = self.half_s(median_s, network_s)
        return Predictions(np.maximum(median_s - half_s, 0.0), median_s, median_s + half_s)

    def half_s(
        self, median_s: Float[np.ndarray, "s c"], network_s: Float[np.ndarray, "s c"]
    ) -> Float[np.ndarray, "s c"]:
        """Half the width of the interval around ``median_s``."""
        moved_s = self.network_error * np.abs(network_s - self.anchor_s[:, None])
        repeated_s = (self.condition_error or 0.0) * median_s
        known_s = np.sqrt(self.own_half_s[:, None] ** 2 + moved_s**2 + repeated_s**2)
        unknown_s = (self.strategy_error or _ERROR_UNKNOWN) * median_s
        half_s: np.ndarray = np.where(
            self.measured[:, None], known_s, np.maximum(unknown_s, moved_s)
        )
        return half_s

    def along(
        self, link: str, condition: NetworkCondition
    ) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
        """Median latency as a line in 1 / bandwidth of ``link``: seconds at 0, and its slope.

        Everything else is as in ``condition``.
        """
        at = self.links.index(link)
        slope = 8 * self.network.stretch * self.traffic.wire_bytes[:, at]
        per_bit = seconds_per_bit([condition], self.links)[0, at]
        median_s = self.own_s + self._network_s([condition])[:, 0]
        return median_s - slope * per_bit, slope

    def _network_s(self, conditions: Sequence[NetworkCondition]) -> Float[np.ndarray, "s c"]:
        rtt_s = self.traffic.crossings @ rtts_s(conditions, self.links).T
        bits_s = 8 * (self.traffic.wire_bytes @ seconds_per_bit(conditions, self.links).T)
        network_s: np.ndarray = self.network.round_trips * rtt_s + self.network.stretch * bits_s
        return network_s


def fit_latency_model(results: StudyResults, shares: Shares | None = None) -> LatencyModel:
    """Fit the model to what ``results`` measured.

    Args:
        results: Of a finished or half-finished study.
        shares: By variant and cuts, each segment's share of the variant's compute, from a profile;
            for cuts that no measured strategy has.

    Raises:
        NotAStudyError: Nothing was measured yet.
    """
    strategies = tuple(dict.fromkeys(t.strategy for t in results.trials))
    number = {strategy: index for index, strategy in enumerate(strategies)}
    trials = [t for t in results.trials if t.state is TrialState.MEASURED and len(t.latency_s)]
    if not trials:
        raise NotAStudyError(
            f"The study {results.name!r} has no measured trial to predict from.",
            hint="`tierwise run` measures them.",
        )
    links = tuple(link.name for link in results.topology.links)
    of = np.array([number[t.strategy] for t in trials])
    sent = traffic_of(strategies, trials, results.topology)
    transfer_s = np.array([_part_s(t, "transfer") for t in trials])
    sends = transfer_s > 0
    every = [_features(sent.beyond(burst), trials, of, links) for burst in BURSTS_BYTES]
    fits = [
        fit_network(features[sends], transfer_s[sends], of[sends], len(strategies), burst)
        for features, burst in zip(every, BURSTS_BYTES, strict=True)
    ]
    chosen = choose_fit(fits)
    network, features = fits[chosen][0], every[chosen]
    traffic = sent.beyond(network.burst_bytes)
    added_s = features[:, 1] * network.round_trips + features[:, 2] * network.stretch
    medians_s = np.array([float(np.median(t.latency_s)) for t in trials])
    halves_s = np.array([_median_half_s(t.latency_s) for t in trials])
    counts = np.bincount(of, minlength=len(strategies))
    measured = counts > 0

    def mean(values: np.ndarray) -> np.ndarray:
        summed: np.ndarray = np.bincount(of, values, len(strategies))
        return summed / np.maximum(counts, 1)

    own_s = np.where(measured, mean(medians_s - added_s), np.nan)
    unseen = _Unseen(results, strategies, trials, of, traffic, network, shares or {})
    for index in np.flatnonzero(~measured):
        own_s[index] = unseen.own_s(int(index))
    errors = unseen.errors(features, medians_s)
    again = _left_out_conditions(medians_s - added_s, medians_s, of, counts)
    return LatencyModel(
        strategies=strategies,
        links=links,
        own_s=own_s,
        measured=measured,
        traffic=traffic,
        network=network,
        anchor_s=mean(added_s),
        own_half_s=mean(halves_s),
        condition_error=_bound(again),
        network_error=_bound(network.errors) or _ERROR_UNKNOWN,
        strategy_error=_bound(errors),
        errors=errors,
    )


def _features(
    traffic: Traffic,
    trials: Sequence[TrialResult],
    of: Int[np.ndarray, " n"],
    links: Sequence[str],
) -> Float[np.ndarray, "n 3"]:
    """Hops, seconds of round trips, and bits / bandwidth of every trial."""
    at = rtts_s([t.condition for t in trials], links)
    per_bit = seconds_per_bit([t.condition for t in trials], links)
    return np.stack(
        [
            traffic.hops[of],
            (traffic.crossings[of] * at).sum(axis=1),
            8 * (traffic.wire_bytes[of] * per_bit).sum(axis=1),
        ],
        axis=1,
    )


class _Unseen:
    """Predicts what is a strategy's own without its measurements."""

    def __init__(  # noqa: PLR0917 - called once, in this order
        self,
        results: StudyResults,
        strategies: tuple[Strategy, ...],
        trials: Sequence[TrialResult],
        of: np.ndarray,
        traffic: Traffic,
        network: NetworkFit,
        shares: Shares,
    ) -> None:
        self._strategies = strategies
        self._of = of
        self._traffic = traffic
        self._network = network
        per_strategy: dict[int, list[TrialResult]] = {}
        for index, trial in zip(of.tolist(), trials, strict=True):
            per_strategy.setdefault(index, []).append(trial)
        self._parts = {i: _typical_parts(of_one) for i, of_one in per_strategy.items()}
        self._rest_s: dict[tuple[str, ...], list[tuple[int, float]]] = {}
        for i, parts in self._parts.items():
            self._rest_s.setdefault(strategies[i].tiers, []).append((i, _rest_s(parts)))
        samples = [
            ComputeSample(
                (strategies[i].variant, strategies[i].cuts, place),
                tier,
                parts[f"compute@{tier}"],
                i,
            )
            for i, parts in self._parts.items()
            for place, tier in enumerate(strategies[i].tiers)
            if f"compute@{tier}" in parts
        ]
        self._compute = ComputeTable(samples, results.topology.names, shares)

    def own_s(self, index: int) -> float:
        """Seconds without the network of the strategy with this number; NaN: nothing says."""
        hops_s = self._network.hop_s * float(self._traffic.hops[index])
        return self._at_its_tiers_s(index) + hops_s

    def errors(
        self, features: Float[np.ndarray, "n 3"], medians_s: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """Relative errors of the measured trials, each predicted without its strategy's times.

        What it sends is taken as known: bytes are counted, not predicted.
        """
        guesses = {i: self._at_its_tiers_s(i) for i in self._parts}
        network_s = (features * self._network.without[self._of]).sum(axis=1)
        predicted_s = np.array([guesses[i] for i in self._of.tolist()]) + network_s
        errors = predicted_s / medians_s - 1
        told: np.ndarray = errors[np.isfinite(errors)]
        return told

    def _at_its_tiers_s(self, index: int) -> float:
        strategy = self._strategies[index]
        compute_s = self._compute.predict_s(strategy, without=index)
        rest_s = self._likes_rest_s(index)
        if compute_s is None or rest_s is None or not self._traffic.known[index]:
            return float("nan")
        return compute_s + rest_s

    def _likes_rest_s(self, index: int) -> float | None:
        """The rest of strategies on the same tiers; else with the same first tier and as many."""
        tiers = self._strategies[index].tiers
        alike = [rest for i, rest in self._rest_s.get(tiers, ()) if i != index]
        if not alike:
            alike = [
                rest
                for others, of in self._rest_s.items()
                if (others[0], len(others)) == (tiers[0], len(tiers))
                for i, rest in of
                if i != index
            ]
        return float(np.median(alike)) if alike else None


def _rest_s(parts: Mapping[str, float]) -> float:
    """Pre- and post-processing, codec, queues, client."""
    return sum(v for k, v in parts.items() if k.partition("@")[0] not in {"compute", "transfer"})


def _typical_parts(trials: Sequence[TrialResult]) -> dict[str, float]:
    """Median of every part over the trials of one strategy."""
    found: dict[str, list[float]] = {}
    for trial in trials:
        if trial.parts_s:
            # One call for all parts: medians one by one took most of the time of a fit.
            medians_s = np.median(np.stack(list(trial.parts_s.values())), axis=1)
            for key, median_s in zip(trial.parts_s, medians_s.tolist(), strict=True):
                found.setdefault(key, []).append(median_s)
    return {key: float(np.median(values)) for key, values in found.items()}


def _part_s(trial: TrialResult, name: str) -> float:
    own = [s for part, s in trial.parts_s.items() if part.partition("@")[0] == name]
    return float(np.median(np.sum(own, axis=0))) if own else 0.0


def _median_half_s(samples_s: Float[np.ndarray, " n"]) -> float:
    if len(samples_s) < fewest_for_median():
        return float(np.ptp(samples_s)) / 2
    interval = median_interval(samples_s)
    return (interval.high - interval.low) / 2


def _left_out_conditions(
    own_s: np.ndarray, medians_s: np.ndarray, of: np.ndarray, counts: np.ndarray
) -> Float[np.ndarray, " n"]:
    """Relative errors of trials predicted from the same strategy's other conditions."""
    several = counts[of] > 1
    others = (np.bincount(of, own_s)[of] - own_s)[several] / (counts[of][several] - 1)
    errors: np.ndarray = (others - own_s[several]) / medians_s[several]
    return errors


def _bound(errors: Float[np.ndarray, " n"]) -> float | None:
    """What :data:`COVERAGE` of the sizes of future errors stay under; the largest of few.

    The rank of split conformal prediction, ceil((n + 1) x coverage).
    """
    if not len(errors):
        return None
    sizes = np.sort(np.abs(errors))
    return float(sizes[min(int(np.ceil((len(sizes) + 1) * COVERAGE)), len(sizes)) - 1])
