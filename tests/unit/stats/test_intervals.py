import numpy as np
import pytest
from scipy import stats

from tierwise.errors import TooFewSamples
from tierwise.stats.bootstrap import bootstrap_median
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
    assert percentile_bound(samples, q) == samples.max()
    with pytest.raises(TooFewSamples, match=f"at least {needed} samples, but there are"):
        percentile_bound(samples[1:], q)


def test_p99_of_100_samples_is_refused():
    with pytest.raises(TooFewSamples, match=r"p99 at 99% confidence needs at least 459.*are 100"):
        percentile_bound(RNG.normal(size=100), 0.99)


@pytest.mark.parametrize("q", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [459, 500, 1001])
def test_the_bound_of_a_percentile_is_scipys(q, n):
    samples = RNG.random(n)
    one_sided = stats.quantile_test(samples, p=q, alternative="less").confidence_interval(0.99)
    assert percentile_bound(samples, q) == one_sided.high


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_interval_of_the_median_is_scipys(confidence):
    for n in (*range(fewest_for_median(confidence), 60), 500, 1001, 1200):
        samples = RNG.exponential(size=n)
        interval = median_interval(samples, confidence)
        expected = stats.quantile_test(samples, p=0.5).confidence_interval(confidence)
        assert (interval.low, interval.high) == (expected.low, expected.high)
        below = int(np.sum(samples < interval.low))
        assert interval.confidence == pytest.approx(1 - 2 * stats.binom.cdf(below, n, 0.5))
        assert interval.confidence >= confidence


def test_an_interval_of_the_median_needs_6_samples():
    with pytest.raises(TooFewSamples, match="needs at least 6 samples, but there are 5"):
        median_interval(np.arange(5.0))
    # Three hold it with a chance of exactly 75%.
    exact = median_interval(np.arange(3.0), 0.75)
    assert (exact.low, exact.high, exact.confidence) == (0.0, 2.0, 0.75)


def test_correlated_samples_widen_the_interval():
    samples = RNG.normal(size=100)
    honest = median_interval(samples, effective_n=20)
    assert honest.low < median_interval(samples).low
    assert honest.high > median_interval(samples).high


def test_the_bootstrap_is_near_the_order_statistics_and_the_same_again():
    values = RNG.lognormal(0, 0.3, 200)
    interval = bootstrap_median(values)
    exact = median_interval(values)
    assert interval.relative_width == pytest.approx(exact.relative_width, rel=0.08)
    assert interval.low < interval.estimate == exact.estimate < interval.high
    assert interval == bootstrap_median(values)


def test_the_bootstrap_needs_10_values():
    with pytest.raises(TooFewSamples, match=r"needs at least 10 samples.*are 9"):
        bootstrap_median(np.arange(9.0))


def test_within_3_percent_is_shown_only_with_the_samples_for_it():
    base = RNG.lognormal(0, 0.3, 200)
    assert equivalence(base * RNG.lognormal(0.01, 0.02, 200), base).holds
    assert not equivalence(base[:6] * RNG.lognormal(0.01, 0.05, 6), base[:6]).holds
    apart = equivalence(base * RNG.lognormal(0.1, 0.02, 200), base)
    assert not apart.holds
    assert apart.ratio.estimate == pytest.approx(np.exp(0.1), rel=0.01)
