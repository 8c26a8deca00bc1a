import pytest

from tierwise.measure.plan import MeasurePlan
from tierwise.measure.sample import Sample
from tierwise.measure.visit import Visit
from tierwise.measure.warm_up import has_settled, warm_up

PLAN = MeasurePlan(requests_per_visit=3, max_warmup_blocks=12)


@pytest.mark.parametrize(
    ("medians_s", "settled"),
    [
        ([0.1, 0.1, 0.1, 0.1], False),  # fewer than a window
        ([0.1, 0.1, 0.1, 0.1, 0.1], True),
        ([0.100, 0.110, 0.120, 0.130, 0.140], False),
        ([0.140, 0.130, 0.120, 0.110, 0.100], False),
        ([0.9, 0.5, 0.3, 0.2, 0.15, 0.1, 0.1, 0.1, 0.1, 0.1], True),  # only the last window counts
        ([0.100, 0.130, 0.090, 0.125, 0.100], True),  # noise: no slope that can be told
        ([0.1000, 0.1004, 0.1008, 0.1012, 0.1016], True),  # a slope, and less than 2%
        ([0.1000, 0.1001, 0.1002, 0.1003, 0.9], True),  # flat, but for one at its end
    ],
)
def test_the_slope_of_the_last_medians_is_flat(medians_s, settled):
    assert has_settled(medians_s, window=5, tolerance=0.02) is settled


def warmed(latency_s, plan=PLAN):
    """Warm up one trial whose request ``i`` of visit ``n`` takes ``latency_s(n, i)``."""

    def visit(name, block, input_index):
        taken_s = [latency_s(-1 - block, i) for i in range(plan.requests_per_visit)]
        return Visit(tuple(Sample(name, block, input_index, s, {}, {}, 0.0) for s in taken_s))

    return warm_up(["a"], visit, plan, n_inputs=4, now_s=lambda: 0.0, most_s=1.0)


def test_what_counts_of_a_visit_is_its_median():
    rising_worst = warmed(lambda n, i: 0.1 * (1 + n) if i == 2 else 0.1)
    assert (rising_worst.blocks, rising_worst.requests) == (5, 15)
    assert rising_worst.unsettled == ()


def test_it_ends_after_the_most_blocks_and_names_what_still_drifts():
    rising = warmed(lambda n, _: 0.1 * (1 + n))
    assert (rising.blocks, rising.requests) == (12, 36)
    assert rising.unsettled == ("a",)
