"""What a prediction may be off by: the formulas against refits, SciPy and drawn errors."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tierwise.predict.errors import bound, drift_bound, student_quantile, within
from tierwise.predict.fit import fit_latency_model
from tierwise.predict.repeats import fit_repeats
from tierwise.testing.results import made_up_results


@pytest.mark.parametrize("freedom", [3.0, 4.5, 10.0, 100.0])
def test_the_quantile_is_students(freedom):
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.0013)


def test_errors_within_groups_vary_as_much_as_those_of_each_group():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 3, 7], [4, 9, 1])
    errors = rng.normal(group, 0.1)
    found = within(errors, group)
    for one in (0, 3):
        assert np.mean(found[group == one] ** 2) == pytest.approx(errors[group == one].var(ddof=1))
    assert found[group == 7] == 0


def test_a_further_error_and_a_further_drift_are_within_their_bounds():
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 0.01, (8000, 11))
    under = [abs(one[-1]) <= bound(one[:-1], 0.01) for one in drawn]
    # Around the mean of those that were seen, which is off itself.
    around = [abs(one[-1] - one[:-1].mean()) <= drift_bound(one[:-1]) for one in drawn]
    for held in (under, around):
        assert 0.95 < np.mean(held) < 0.965


def test_an_error_of_measuring_again_is_that_of_a_fit_without_the_trial():
    rng = np.random.default_rng(0)
    strategies, conditions = 12, 6
    strategy = np.repeat(np.arange(strategies), conditions)
    condition = np.tile(np.arange(conditions), strategies)
    logs = rng.normal(0, 1, strategies)[strategy] + rng.normal(0, 0.1, conditions)[condition]
    own_s = 0.01 * np.exp(logs + rng.normal(0, 0.04, len(logs)))
    counts = np.full(len(logs), 60)

    def fit(kept):
        return fit_repeats(
            own_s[kept], np.zeros(len(kept)), own_s[kept], counts[kept],
            strategy[kept], condition[kept], strategies,
        )  # fmt: skip

    everything = np.arange(len(logs))
    without = []
    for left_out in everything:
        fitted = fit(np.delete(everything, left_out))
        expected = np.log(fitted.own_s[strategy[left_out]]) + fitted.drift[condition[left_out]]
        without.append(np.log(own_s[left_out]) - expected)
    assert np.allclose(fit(everything).errors, without, rtol=0.03)


def test_a_strategy_is_as_uncertain_as_the_slowest_to_settle_of_its_tiers():
    results = made_up_results(edge_cloud=("5Mbit", "10Mbit", "20Mbit", "50Mbit"))
    rng = np.random.default_rng(0)
    trials = tuple(
        replace(trial, latency_s=trial.latency_s + rng.normal(0, 0.2) * trial.latency_s.mean())
        if trial.strategy.tiers == ("mobile",)
        else trial
        for trial in results.trials
    )
    model = fit_latency_model(replace(results, trials=trials))
    error = {s.placement: e for s, e in zip(model.strategies, model.own_error, strict=True)}
    assert error["mobile"] > 1.5 * error["edge"]
    assert error["mobile-edge"] > 1.5 * error["edge"]
