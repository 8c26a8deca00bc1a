import numpy as np
import pytest

from tierwise.errors import TooFewSamples
from tierwise.stats.bootstrap import cluster_bootstrap
from tierwise.stats.equivalence import equivalence
from tierwise.stats.median_interval import fewest_for_median, median_interval
from tierwise.stats.percentile import percentile_bound, samples_needed

RNG = np.random.default_rng(11)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order():
    RNG.bit_generator.state = START


@pytest.mark.parametrize(("q", "needed"), [(0.9, 44), (0.95, 90), (0.99, 459)])
def test_a_percentile_is_refused_with_the_number_needed(q, needed):
    assert samples_needed(q) == needed
    samples = RNG.normal(size=needed)
    assert percentile_bound(samples, q).upper == samples.max()
    with pytest.raises(TooFewSamples, match=f"at least {needed} samples, but there are"):
        percentile_bound(samples[1:], q)


def test_p99_of_100_samples_is_refused():
    with pytest.raises(TooFewSamples, match=r"p99 at 99% confidence needs at least 459.*are 100"):
        percentile_bound(RNG.normal(size=100), 0.99)


def test_the_bound_of_a_percentile_holds_as_often_as_it_says():
    bounds = [percentile_bound(RNG.random(200), 0.95).upper for _ in range(1000)]
    assert np.mean(np.array(bounds) < 0.95) < 0.02
    assert np.median(bounds) < 0.99


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_interval_of_the_median_holds_as_often_as_it_says(confidence):
    for n in (fewest_for_median(confidence), 31, 100):
        intervals = [median_interval(RNG.exponential(size=n), confidence) for _ in range(600)]
        held = np.mean([i.low <= np.log(2) <= i.high for i in intervals])
        assert held > confidence - 0.04
        assert intervals[0].confidence >= confidence


def test_an_interval_of_the_median_needs_6_samples():
    with pytest.raises(TooFewSamples, match="needs at least 6 samples, but there are 5"):
        median_interval(np.arange(5.0))


def test_correlated_samples_widen_the_interval():
    samples = RNG.normal(size=100)
    honest = median_interval(samples, effective_n=20)
    assert honest.low < median_interval(samples).low
    assert honest.high > median_interval(samples).high


def test_the_bootstrap_counts_inputs_and_not_requests():
    inputs = np.repeat(np.arange(100), 5)
    samples = 10.0 + RNG.normal(size=100)[inputs] + RNG.normal(0, 0.1, 500)
    clustered = cluster_bootstrap(samples, inputs, resamples=500)
    naive = cluster_bootstrap(samples, np.arange(500), resamples=500)
    assert clustered.relative_width > 1.6 * naive.relative_width
    assert clustered.low < clustered.estimate < clustered.high
    assert clustered == cluster_bootstrap(samples, inputs, resamples=500)


def test_the_bootstrap_needs_10_inputs():
    with pytest.raises(TooFewSamples, match=r"\(inputs\) needs at least 10 samples.*are 9"):
        cluster_bootstrap(np.arange(9.0), np.arange(9))


def test_within_3_percent_is_shown_only_with_the_samples_for_it():
    base = RNG.lognormal(0, 0.3, 200)
    assert equivalence(base * RNG.lognormal(0.01, 0.02, 200), base).holds
    assert not equivalence(base[:6] * RNG.lognormal(0.01, 0.05, 6), base[:6]).holds
    apart = equivalence(base * RNG.lognormal(0.1, 0.02, 200), base)
    assert not apart.holds
    assert apart.ratio.estimate == pytest.approx(np.exp(0.1), rel=0.01)
