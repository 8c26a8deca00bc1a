import time
from dataclasses import replace

import numpy as np
import pytest

from tierwise.errors import NotAStudyError
from tierwise.predict.fit import fit_latency_model
from tierwise.store.results import SegmentCosts, StudyResults, TrialState
from tierwise.testing.results import made_up_results
from tierwise.tiers.topology import LinkShape, NetworkCondition

RATES = ("5Mbit", "20Mbit", "50Mbit")


def medians_ms(results, condition):
    return {
        t.strategy.id: float(np.median(t.latency_s)) * 1e3
        for t in results.trials
        if t.condition == condition
    }


def test_an_unmeasured_bandwidth_is_predicted_within_the_interval():
    inside, errors = [], []
    for seed in range(4):
        model = fit_latency_model(made_up_results(edge_cloud=RATES, seed=seed))
        truth = made_up_results(edge_cloud=("10Mbit",), seed=100 + seed)
        predictions = model.predict(truth.conditions)
        true_ms = medians_ms(truth, truth.conditions[0])
        for row, strategy in enumerate(model.strategies):
            low, median, high = (
                float(array[row, 0]) * 1e3
                for array in (predictions.low_s, predictions.median_s, predictions.high_s)
            )
            inside.append(low <= true_ms[strategy.id] <= high)
            errors.append(abs(median / true_ms[strategy.id] - 1))
    assert np.mean(inside) >= 0.9
    assert max(errors) < 0.05


def test_the_network_s_terms_are_found_in_the_transfers():
    network = fit_latency_model(made_up_results(edge_cloud=RATES)).network
    # The made-up transfers are rtt + bits / bandwidth, without overhead.
    assert network.hop_s < 2e-4
    assert network.round_trips == pytest.approx(1, abs=0.03)
    assert network.stretch == pytest.approx(1, abs=0.03)


def test_an_interval_grows_with_the_distance_from_what_was_measured():
    results = made_up_results(edge_cloud=("50Mbit",))
    model = fit_latency_model(results)
    near, far = (results.conditions[0].at_rate("edge-cloud", rate) for rate in (45e6, 1e6))
    predictions = model.predict([results.conditions[0], near, far])
    width_s = predictions.high_s - predictions.low_s
    over = ["edge-cloud" in route for route in model.traffic.routes]
    sends = model.traffic.wire_bytes[:, over].any(axis=1)
    assert (width_s[sends, 2] > width_s[sends, 1]).all()
    assert np.allclose(width_s[~sends, 2], width_s[~sends, 1])


def test_an_interval_is_least_where_it_was_measured_and_the_network_s_own_doubt_stays():
    results = made_up_results(edge_cloud=("20Mbit",))
    model = fit_latency_model(results)
    (here,) = results.conditions
    rates = (here, here.at_rate("edge-cloud", 5e6), here.at_rate("edge-cloud", 200e6))
    over = ["edge-cloud" in route for route in model.traffic.routes]
    sends = model.traffic.wire_bytes[:, over].any(axis=1)

    def half_s(of):
        found = of.predict(rates, drift=False)
        return ((found.high_s - found.low_s) / 2)[sends].T

    # Of what the network adds to all strategies, only the change counts ...
    there, slower, faster = half_s(replace(model, network_again=0.0))
    assert there == pytest.approx((model.own_error * model.own_s)[sends], rel=1e-3)
    assert (there < slower).all()
    assert (there < faster).all()
    # ... and what differs from time to time always does.
    assert (half_s(model)[0] > there * 1.01).all()


def test_bytes_that_were_counted_are_believed_and_not_those_that_were_expected():
    unseen = "mobile-edge/P@relu_9"
    results = made_up_results(predicted=[unseen])
    absurd = SegmentCosts(compute_shares=(0.38, 0.62), hop_bytes=(10**9,))
    counted, expected = (
        fit_latency_model(replace(results, segment_costs=costs)).traffic.wire_bytes
        for costs in ({}, {unseen: absurd})
    )
    np.testing.assert_array_equal(counted, expected)


def test_what_was_never_measured_is_predicted_from_its_likes_with_a_wider_interval():
    unseen = ["edge/QE", "mobile-cloud/P@relu_9"]
    model = fit_latency_model(made_up_results(edge_cloud=RATES, predicted=unseen))
    truth = made_up_results(edge_cloud=RATES)
    predictions = model.predict(truth.conditions)
    for row, strategy in enumerate(model.strategies):
        if strategy.id in unseen:
            assert not model.measured[row]
            true_ms = medians_ms(truth, truth.conditions[0])[strategy.id]
            assert predictions.median_s[row, 0] * 1e3 == pytest.approx(true_ms, rel=0.08)
            assert predictions.high_s[row, 0] > predictions.median_s[row, 0]


def test_a_profile_s_shares_predict_a_cut_that_nobody_measured():
    cut = "relu_9"
    unseen = [f"{pair}/P@{cut}" for pair in ("mobile-edge", "edge-cloud", "mobile-cloud")]
    results = made_up_results(predicted=unseen[:2])
    # Without the third placement nothing tells how long the segments are ...
    without = replace(
        results, trials=tuple(t for t in results.trials if t.strategy.id != unseen[2])
    )
    model = fit_latency_model(without)
    row = next(i for i, s in enumerate(model.strategies) if s.id == unseen[0])
    assert np.isnan(model.own_s[row])
    # ... but what share of the whole model each has does, nearly as well as the third placement.
    costs = SegmentCosts(compute_shares=(0.38, 0.62), hop_bytes=(65_536,))
    profiled = fit_latency_model(replace(without, segment_costs={unseen[0]: costs})).own_s[row]
    known = fit_latency_model(results)
    (row,) = (i for i, s in enumerate(known.strategies) if s.id == unseen[0])
    assert profiled == pytest.approx(known.own_s[row], rel=0.05)


def test_a_study_without_measurements_predicts_nothing():
    with pytest.raises(NotAStudyError, match="no measured trial to predict from"):
        fit_latency_model(made_up_results(blocks=0))


def test_unlimited_bandwidth_and_a_single_tier_are_no_special_case():
    results = made_up_results(edge_cloud=RATES)
    model = fit_latency_model(results)
    unlimited = NetworkCondition(dict.fromkeys(("mobile-edge", "edge-cloud"), LinkShape()))
    assert (model.predict([unlimited]).median_s > 0).all()
    alone = tuple(t for t in results.trials if t.strategy.tiers == ("mobile",))
    only = fit_latency_model(replace(results, trials=alone))
    assert (only.predict(results.conditions).median_s > 0).all()


def test_500_strategies_under_36_conditions_take_less_than_a_second():
    small = made_up_results(edge_cloud=RATES, blocks=5)
    trials = tuple(
        replace(t, strategy=replace(t.strategy, variant=f"{t.strategy.variant}-{copy}"))
        for copy in range(21)
        for t in small.trials
    )
    many: StudyResults = replace(small, trials=trials)
    model = fit_latency_model(many)
    conditions = [
        small.conditions[0].at_rate("edge-cloud", rate) for rate in np.linspace(1e6, 1e8, 36)
    ]
    start = time.perf_counter()
    predictions = model.predict(conditions)
    assert time.perf_counter() - start < 1
    assert predictions.median_s.shape == (504, 36)
    assert all(t.state is TrialState.MEASURED for t in trials)


def test_the_slowest_link_of_a_route_sets_its_pace():
    results = made_up_results(edge_cloud=RATES)
    model = fit_latency_model(results)
    row = [strategy.id for strategy in model.strategies].index("cloud/I")
    fast = results.conditions[0].at_rate("edge-cloud", 1e9)
    slow, slower = fast.at_rate("mobile-edge", 2e6), fast.at_rate("mobile-edge", 1e6)
    both = slower.at_rate("edge-cloud", 1e6)
    latency_s = model.predict([slow, slower, both]).median_s[row]
    assert latency_s[1] > latency_s[0] * 1.2
    assert latency_s[2] == pytest.approx(latency_s[1])


def test_a_network_that_hides_what_a_tier_computes_does_not_blur_the_rest():
    results = made_up_results(edge_cloud=("0.2Mbit", "50Mbit"))
    slow, fast = results.conditions

    def at_a_rate_that_is_off(trial):
        if trial.condition != slow or not trial.parts_s:
            return trial
        parts = {p: s * 1.02 if p.startswith("transfer@") else s for p, s in trial.parts_s.items()}
        more_s = sum(parts.values()) - sum(trial.parts_s.values())
        return replace(trial, latency_s=trial.latency_s + more_s, parts_s=parts)

    trials = tuple(at_a_rate_that_is_off(trial) for trial in results.trials)
    there = fit_latency_model(replace(results, trials=trials)).predict([fast])
    # 2% of 25 s behind the slow link are ten times what a tier computes.
    assert (there.high_s - there.low_s < 0.5 * there.median_s).all()
