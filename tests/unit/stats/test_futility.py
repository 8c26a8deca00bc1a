"""The predictive probability, against what simulated studies come to."""

import math

import numpy as np
import pytest
from scipy.stats import t

from tierwise.stats.futility import chance_to_decide
from tierwise.stats.median_interval import Interval

PLAN = {"alpha": 0.01, "equivalence_alpha": 0.05, "tests": 8, "pairs": 1}


def interval(log_ratio, error):
    half = 1.6449 * error
    return Interval(*(math.exp(log_ratio + x) for x in (-half, 0, half)), 0.9)


@pytest.mark.parametrize("now", [0.0, 0.01, 0.02, 0.05])
def test_it_is_the_share_of_studies_that_are_decided_at_the_end(now):
    rng, error, blocks, last = np.random.default_rng(0), 0.01, 30, 240
    truth = now + error * rng.normal(size=200_000)  # a flat prior's posterior
    rest = truth + error * math.sqrt(blocks / (last - blocks)) * rng.normal(size=len(truth))
    end = (blocks * now + (last - blocks) * rest) / last
    at_end = error * math.sqrt(blocks / last)
    # Student's quantiles of 1 - 0.01 / 16 and 1 - 0.05 / 8, with the degrees of 240 blocks.
    apart = np.abs(end) > t.ppf(1 - 0.01 / 16, 15) * at_end
    equal = np.abs(end) < math.log(1.03) - t.ppf(1 - 0.05 / 8, 15) * at_end
    expected = np.mean(apart) + np.mean(equal)
    found = chance_to_decide(interval(now, error), blocks, last, **PLAN)
    assert found == pytest.approx(expected, abs=0.005)


def test_noise_in_which_nothing_can_be_shown_is_given_up_and_a_clear_case_is_not():
    assert chance_to_decide(interval(0.0, 0.05), 30, 60, **PLAN) < 0.02
    assert chance_to_decide(interval(0.3, 0.05), 30, 60, **PLAN) > 0.95
    assert chance_to_decide(interval(0.0, 0.005), 30, 240, **PLAN) > 0.99
    assert chance_to_decide(interval(0.0, 0.005), 30, 30, **PLAN) == 0
