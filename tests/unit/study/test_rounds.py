"""After how many blocks a round of measuring looks."""

import pytest

from tierwise.study.rounds import LOOKS, in_sweep, planned_looks
from tierwise.study.sections.measuring import MeasureSpec

ALONE = in_sweep(MeasureSpec(samples=30), conditions=1)


@pytest.mark.parametrize(
    ("place", "first", "need", "least", "looks"),
    [
        (0, 0, 30, 0, (30, 60, 120, 240)),
        (0, 0, 30, 90, (30, 60, 90, 120, 240)),  # and where the required percentile is backed
        (1, 240, 30, 0, (270, 300)),
        (1, 240, 0, 0, (240, 300)),
        (2, 300, 30, 0, (360,)),
    ],
)
def test_blocks_double_from_look_to_look_and_later_rounds_look_less_often(
    place, first, need, least, looks
):
    found = planned_looks(ALONE, place, first=first, need=need, least=least)
    assert found == looks
    assert len(found) <= LOOKS[place]


def test_in_a_large_sweep_each_condition_goes_on_half_as_long():
    swept = in_sweep(MeasureSpec(samples=30), conditions=5)
    assert planned_looks(swept, 0, first=0, need=30) == (30, 60, 120)
    asked = in_sweep(MeasureSpec(samples=30, max_samples=60), conditions=5)
    assert planned_looks(asked, 0, first=0, need=30) == (30, 60)
