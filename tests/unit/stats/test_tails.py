"""Golden values: mpmath with 50 digits, by the script in `tests/golden/tails.py`."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tierwise.stats.tails import chi2_log_sf, t_log_sf

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "tails.json").read_text("utf-8"))
TAILS = {"chi2": chi2_log_sf, "t": t_log_sf}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['tail']}{case['arguments']}")
def test_tails_far_below_a_floats_range_equal_the_reference(case):
    value = TAILS[case["tail"]](*case["arguments"])
    assert value == pytest.approx(case["log_sf"], rel=1e-12, abs=1e-12)


@given(st.floats(0, 500), st.integers(1, 200))
def test_where_the_tail_fits_a_float_it_is_scipys(x, degrees):
    assert math.exp(chi2_log_sf(x, degrees)) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-9)
    assert math.exp(t_log_sf(x, degrees)) == pytest.approx(stats.t.sf(x, degrees), rel=1e-9)
    assert math.exp(t_log_sf(-x, degrees)) == pytest.approx(stats.t.sf(-x, degrees), rel=1e-9)


def test_an_infinite_statistic_leaves_no_tail():
    assert chi2_log_sf(math.inf, 3) == t_log_sf(math.inf, 3) == -math.inf
