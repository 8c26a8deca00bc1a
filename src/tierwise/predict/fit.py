"""Fit the latency model to a study's measured trials and its profile."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import stdtrit

from tierwise.errors import NotAStudyError
from tierwise.operators.strategy import Strategy
from tierwise.predict.compute import Shares
from tierwise.predict.latency import COVERAGE, LatencyModel
from tierwise.predict.network import (
    BURSTS_BYTES,
    choose_fit,
    fit_network,
    rtts_s,
    seconds_per_bit,
)
from tierwise.predict.repeats import Repeats, fit_repeats
from tierwise.predict.traffic import Traffic, traffic_of
from tierwise.predict.unseen import Unseen
from tierwise.stats.median_interval import fewest_for_median, median_ranks
from tierwise.store.results import StudyResults, TrialResult, TrialState

# heuristic: where a study says nothing yet of how far a prediction is off (one strategy, one
# condition), as standard deviations: of what the network adds, of a strategy that is put together
# from others, of a median measured again, and of the machine from one time to another.
_NETWORK, _PUT_TOGETHER, _AGAIN, _DRIFT = 0.05, 0.08, 0.04, 0.0
# heuristic: how many errors that guess counts as.
_GUESS_WEIGHT = 3.0


def fit_latency_model(results: StudyResults, shares: Shares | None = None) -> LatencyModel:
    """Fit the model to what ``results`` measured, its profile included.

    Args:
        results: Of a finished or half-finished study.
        shares: By variant and cuts, each segment's share of the variant's compute; for cuts that
            no measured strategy has. Left out: those that ``results`` has.

    Raises:
        NotAStudyError: Nothing was measured yet.
    """
    strategies = tuple(dict.fromkeys(t.strategy for t in results.trials))
    number = {strategy: index for index, strategy in enumerate(strategies)}
    trials = [
        t
        for t in (*results.trials, *results.profile)
        if t.state is TrialState.MEASURED and len(t.latency_s) and t.strategy in number
    ]
    if not trials:
        raise NotAStudyError(
            f"The study {results.name!r} has no measured trial to predict from.",
            hint="`tierwise run` measures them.",
        )
    links = tuple(link.name for link in results.topology.links)
    of = np.array([number[t.strategy] for t in trials])
    where = {c: i for i, c in enumerate(dict.fromkeys(t.condition for t in trials))}
    at = np.array([where[t.condition] for t in trials])
    sent = traffic_of(strategies, trials, results.topology, results.segment_costs)
    transfer_s = _transfers_s(trials)
    sends = transfer_s > 0
    rtt_s, per_bit = rtts_s(list(where), links)[at], seconds_per_bit(list(where), links)[at]
    every = [_features(sent.beyond(burst), of, rtt_s, per_bit) for burst in BURSTS_BYTES]
    fits = [
        fit_network(features[sends], transfer_s[sends], of[sends], len(strategies), burst)
        for features, burst in zip(every, BURSTS_BYTES, strict=True)
    ]
    chosen = choose_fit(fits)
    network, features = fits[chosen][0], every[chosen]
    traffic = sent.beyond(network.burst_bytes)
    added_s = features[:, 1] * network.round_trips + features[:, 2] * network.stretch
    counts = np.array([len(t.latency_s) for t in trials])
    repeats = fit_repeats(_medians_s(trials) - added_s, counts, of, at, len(strategies))
    measured = np.isfinite(repeats.own_s)
    unseen = Unseen(
        strategies, results.topology.names, trials, of, np.exp(repeats.drift[at]), traffic,
        network, _shares(results, strategies) if shares is None else shares,
    )  # fmt: skip
    own_s = repeats.own_s.copy()
    for index in np.flatnonzero(~measured):
        own_s[index] = unseen.own_s(int(index))
    left_out = unseen.left_out() / repeats.own_s - 1
    errors = left_out[np.isfinite(left_out)]
    # Over unlimited links only the overhead of a hop was seen.
    shaped = features[sends, 1:].any(axis=1)
    return LatencyModel(
        strategies=strategies,
        links=links,
        own_s=own_s,
        measured=measured,
        traffic=traffic,
        network=network,
        anchor_s=np.bincount(of, added_s, len(strategies))
        / np.maximum(np.bincount(of, minlength=len(strategies)), 1),
        own_error=np.hypot(
            _own_errors(strategies, measured, repeats, errors),
            _sampling_errors(trials, of, repeats.own_s),
        ),
        drift_error=_bound(repeats.drift, _DRIFT) if len(where) > 1 else 0.0,
        network_error=_bound(network.errors[shaped], _NETWORK),
        repeat_error=_bound(repeats.errors, _AGAIN),
        unseen_error=_bound(errors, _PUT_TOGETHER),
        errors=errors,
    )


def _shares(results: StudyResults, strategies: Sequence[Strategy]) -> Shares:
    return {
        (strategy.variant, strategy.cuts): results.segment_costs[strategy.id].compute_shares
        for strategy in strategies
        if strategy.id in results.segment_costs
    }


def _features(
    traffic: Traffic,
    of: Int[np.ndarray, " n"],
    rtt_s: Float[np.ndarray, "n links"],
    per_bit: Float[np.ndarray, "n links"],
) -> Float[np.ndarray, "n 3"]:
    """Hops, seconds of round trips, and bits / bandwidth of every trial."""
    waited_s = (traffic.crossings[of] * rtt_s).sum(axis=1)
    sent_s = 8 * (traffic.wire_bytes[of] * per_bit).sum(axis=1)
    return np.stack([traffic.hops[of], waited_s, sent_s], axis=1)


def _medians_s(trials: Sequence[TrialResult]) -> Float[np.ndarray, " n"]:
    """Median latency of every trial; one call for all that have as many samples."""
    return _medians([trial.latency_s for trial in trials])


def _transfers_s(trials: Sequence[TrialResult]) -> Float[np.ndarray, " n"]:
    """Median seconds that every trial's requests were on their way; 0 where nothing was sent."""
    return _medians([
        sum(
            (seconds for part, seconds in trial.parts_s.items() if part.startswith("transfer@")),
            np.zeros(len(trial.latency_s)),
        )
        for trial in trials
    ])  # fmt: skip


def _medians(samples: Sequence[np.ndarray]) -> Float[np.ndarray, " n"]:
    sizes = np.array([len(one) for one in samples])
    found = np.zeros(len(samples))
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        found[alike] = np.median(np.stack([samples[i] for i in alike.tolist()]), axis=1)
    return found


def _sampling_errors(
    trials: Sequence[TrialResult],
    of: Int[np.ndarray, " n"],
    own_s: Float[np.ndarray, " s"],
) -> Float[np.ndarray, " s"]:
    """Half the interval of each strategy's median, over what is its own: its narrowest trial's."""
    halves_s = np.full(len(own_s), np.inf)
    sizes = np.array([len(trial.latency_s) for trial in trials])
    for size in np.unique(sizes).tolist():
        alike = np.flatnonzero(sizes == size)
        ordered = np.sort(np.stack([trials[i].latency_s for i in alike.tolist()]), axis=1)
        low, high = median_ranks(size) if size >= fewest_for_median() else (0, size - 1)
        np.minimum.at(halves_s, of[alike], (ordered[:, high] - ordered[:, low]) / 2)
    found: np.ndarray = np.where(np.isfinite(halves_s), halves_s / own_s, 0.0)
    return found


def _own_errors(
    strategies: Sequence[Strategy],
    measured: Bool[np.ndarray, " s"],
    repeats: Repeats,
    errors: Float[np.ndarray, " e"],
) -> Float[np.ndarray, " s"]:
    """Relative error of every strategy's own part.

    Of measuring again by the slowest to settle of its tiers: what a small share of a core does to
    a latency differs from what a whole one does. Of putting together by all that was left out.
    """
    together = _bound(errors, _PUT_TOGETHER)
    overall = _spread(repeats.errors, _AGAIN)
    tiers = {tier for strategy in strategies for tier in strategy.tiers}
    by_tier = {
        tier: _bound(
            np.array([
                error
                for error, index in zip(repeats.errors, repeats.of.tolist(), strict=True)
                if tier in strategies[index].tiers
            ]),
            overall,
        )
        for tier in tiers
    }  # fmt: skip
    found = np.full(len(strategies), together)
    for index in np.flatnonzero(measured).tolist():
        found[index] = max(by_tier[tier] for tier in strategies[index].tiers)
    return found


def _spread(errors: Float[np.ndarray, " e"], guess: float) -> float:
    """Standard deviation around 0, drawn to a guess as far as there are few errors."""
    total = float(errors @ errors) + _GUESS_WEIGHT * guess**2
    return float(np.sqrt(total / (len(errors) + _GUESS_WEIGHT)))


def _bound(errors: Float[np.ndarray, " e"], guess: float) -> float:
    """What :data:`COVERAGE` of the sizes of future errors stay under, were they normal."""
    freedom = len(errors) + _GUESS_WEIGHT
    return float(stdtrit(freedom, (1 + COVERAGE) / 2)) * _spread(errors, guess)
