"""Fit the latency model to a study's measured trials and its profile."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tierwise.operators.strategy import Strategy
from tierwise.predict.compute import Shares
from tierwise.predict.errors import (
    AGAIN,
    NETWORK,
    NETWORK_AGAIN,
    PUT_TOGETHER,
    bound,
    bound_by_group,
    drift_bound,
    known_drift_bounds,
    own_bounds,
    within,
)
from tierwise.predict.latency import Drift, LatencyModel
from tierwise.predict.network import (
    BURSTS_BYTES,
    NetworkFit,
    choose_fit,
    fit_network,
    rtts_s,
    seconds_per_bit,
)
from tierwise.predict.repeats import Repeats, fit_repeats
from tierwise.predict.traffic import Traffic, traffic_of
from tierwise.predict.trials import MeasuredTrials
from tierwise.predict.unseen import Unseen
from tierwise.store.results import StudyResults
from tierwise.tiers.topology import NetworkCondition


def fit_latency_model(results: StudyResults) -> LatencyModel:
    """Fit the model to what a finished or half-finished study measured, its profile included.

    Raises:
        NotAStudyError: Nothing was measured yet.
    """
    measured = MeasuredTrials.in_results(results)
    strategies, of, at = measured.strategies, measured.of, measured.at
    links = tuple(link.name for link in results.topology.links)
    sent = traffic_of(strategies, measured.trials, results.topology, results.segment_costs)
    network, features = _network(measured, sent)
    traffic = sent.beyond(network.burst_bytes)
    added_s = features[:, 1] * network.round_trips + features[:, 2] * network.stretch
    repeats = fit_repeats(
        measured.medians_s - added_s,
        added_s,
        measured.medians_s - measured.transfers_s,
        measured.counts,
        of,
        at,
        len(strategies),
    )
    seen = np.isfinite(repeats.own_s)
    unseen = Unseen(
        strategies, results.topology.names, measured.trials, of, np.exp(repeats.drift[at]),
        traffic, network, _shares(results, strategies),
    )  # fmt: skip
    own_s = repeats.own_s.copy()
    for index in np.flatnonzero(~seen).tolist():
        own_s[index] = unseen.own_s(index)
    left_out = unseen.left_out() / repeats.own_s - 1
    errors = left_out[np.isfinite(left_out)]
    return LatencyModel(
        strategies=strategies,
        links=links,
        own_s=own_s,
        measured=seen,
        traffic=traffic,
        network=network,
        anchor_s=np.bincount(of, repeats.weight * added_s, len(strategies))
        / np.maximum(np.bincount(of, repeats.weight, len(strategies)), 1e-12),
        own_error=own_bounds(measured, seen, repeats.own_s, repeats, errors),
        drift=_drift(measured, repeats),
        drift_error=drift_bound(repeats.drift),
        network_error=_network_bound(measured, network, features),
        network_again=_network_again(measured, network, features),
        repeat_error=bound(repeats.errors, AGAIN),
        unseen_error=bound(errors, PUT_TOGETHER),
        errors=errors,
    )


def _shares(results: StudyResults, strategies: Sequence[Strategy]) -> Shares:
    """Each segment's share of its variant's compute, for cuts that no measured strategy has."""
    return {
        (strategy.variant, strategy.cuts): results.segment_costs[strategy.id].compute_shares
        for strategy in strategies
        if strategy.id in results.segment_costs
    }


def _network(
    measured: MeasuredTrials, sent: Traffic
) -> tuple[NetworkFit, Float[np.ndarray, "n 3"]]:
    """The fit of what the network adds, and the features of every trial that it goes by."""
    sends = measured.transfers_s > 0
    every = [_features(measured, sent.beyond(burst)) for burst in BURSTS_BYTES]
    groups = measured.of[sends], measured.at[sends]
    fits = [
        fit_network(
            features[sends],
            measured.transfers_s[sends],
            *groups,
            len(measured.strategies),
            burst_bytes=burst,
        )
        for features, burst in zip(every, BURSTS_BYTES, strict=True)
    ]
    chosen = choose_fit(fits)
    return fits[chosen][0], every[chosen]


def _features(measured: MeasuredTrials, traffic: Traffic) -> Float[np.ndarray, "n 3"]:
    """Hops, seconds of round trips, and bits / bandwidth of every trial."""
    of, at = measured.of, measured.at
    waited_s = (traffic.crossings[of] * rtts_s(measured.conditions, traffic.routes)[at]).sum(axis=1)
    per_bit = seconds_per_bit(measured.conditions, traffic.routes)[at]
    sent_s = 8 * (traffic.wire_bytes[of] * per_bit).sum(axis=1)
    return np.stack([traffic.hops[of], waited_s, sent_s], axis=1)


def _network_bound(
    measured: MeasuredTrials, network: NetworkFit, features: Float[np.ndarray, "n 3"]
) -> float:
    """The larger of two: for strategies, and for conditions that the fit was not given."""
    sends = measured.transfers_s > 0
    # Over unlimited links only the overhead of a hop was seen.
    shaped = features[sends, 1:].any(axis=1)
    return max(
        bound(network.errors[shaped], NETWORK),
        bound_by_group(network.elsewhere[shaped], measured.at[sends][shaped], NETWORK),
    )


def _network_again(
    measured: MeasuredTrials, network: NetworkFit, features: Float[np.ndarray, "n 3"]
) -> float:
    """How what the network adds to a strategy differs from condition to condition."""
    sends = measured.transfers_s > 0
    shaped = features[sends, 1:].any(axis=1)
    errors = within(network.elsewhere[shaped], measured.of[sends][shaped])
    return bound_by_group(errors, measured.at[sends][shaped], NETWORK_AGAIN)


def _drift(measured: MeasuredTrials, repeats: Repeats) -> dict[NetworkCondition, Drift]:
    bounds = known_drift_bounds(repeats, measured.at, len(measured.conditions))
    return {
        condition: Drift(float(drift), float(error))
        for condition, drift, error in zip(measured.conditions, repeats.drift, bounds, strict=True)
    }
