import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.predict.crossovers import (
    Lines,
    find_crossovers,
    lines_along,
)
from tierwise.predict.fit import fit_latency_model
from tierwise.testing.results import made_up_results

RESULTS = made_up_results(edge_cloud=("5Mbit", "50Mbit"))
MODEL = fit_latency_model(RESULTS)
BASE = RESULTS.conditions[0]
RATES = (1e5, 1e9)


def lines_of(starts_ms, slopes_kbit, most_x=None):
    count = len(starts_ms)
    return (
        Lines(
            np.array(starts_ms) / 1e3,
            np.array(slopes_kbit) * 1e3,
            np.arange(count),
            np.full(count, np.inf) if most_x is None else np.array(most_x),
            tuple(f"s{i}" for i in range(count)),
        ),
    )


def test_two_lines_cross_where_algebra_says():
    # 20 ms everywhere against 10 ms + 100 kbit / bandwidth: equal at 10 Mbit/s.
    (crossover,) = find_crossovers(MODEL, lines_of([20, 10], [0, 100]), "edge-cloud", BASE, RATES)
    assert crossover.bandwidth_bit_per_s == pytest.approx(10e6, rel=1e-9)
    assert (crossover.below, crossover.above) == ("s0", "s1")
    assert crossover.low_bit_per_s < 10e6 < crossover.high_bit_per_s


def fastest_at(pieces, rate):
    """Id of the fastest that meets the requirement, of the lines that hold there."""
    lines = next(one for one in pieces if one.from_x <= 1 / rate < one.to_x)
    fine = [i for i, most_x in enumerate(lines.most_x) if most_x >= 1 / rate]
    best = min(fine, key=lambda i: lines.start_s[i] + lines.slope[i] / rate, default=None)
    return None if best is None else lines.ids[best]


def test_a_latency_requirement_ends_a_line():
    only = lines_of([10], [100], [1 / 5e6])
    (crossover,) = find_crossovers(MODEL, only, "edge-cloud", BASE, RATES)
    assert crossover.bandwidth_bit_per_s == pytest.approx(5e6)
    assert (crossover.below, crossover.above) == (None, "s0")


def test_the_model_s_lines_are_its_predictions():
    everything = np.ones(len(MODEL.strategies), dtype=bool)
    pieces = lines_along(MODEL, "edge-cloud", BASE, everything, np.zeros(len(MODEL.strategies)))
    bend = BASE.shapes["mobile-edge"].bandwidth_bit_per_s
    assert [lines.from_x for lines in pieces] == [0.0, 1 / bend]
    for lines, rate in zip(pieces, (bend * 3, bend / 30), strict=True):
        predicted_s = MODEL.predict([BASE.at_rate("edge-cloud", rate)]).median_s[:, 0]
        assert np.allclose(lines.start_s + lines.slope / rate, predicted_s)


def test_a_change_beyond_a_bend_is_found_where_the_model_has_it():
    everything = np.ones(len(MODEL.strategies), dtype=bool)
    pieces = lines_along(MODEL, "edge-cloud", BASE, everything, np.zeros(len(MODEL.strategies)))
    found = find_crossovers(MODEL, pieces, "edge-cloud", BASE, RATES)
    grid = np.geomspace(*RATES, 400)
    medians_s = MODEL.predict([BASE.at_rate("edge-cloud", rate) for rate in grid]).median_s
    for rate, of_all in zip(grid, medians_s.T, strict=True):
        above = [c for c in found if c.bandwidth_bit_per_s > rate]
        best = above[0].below if above else found[-1].above if found else fastest_at(pieces, rate)
        row = [strategy.id for strategy in MODEL.strategies].index(best)
        assert of_all[row] == pytest.approx(of_all.min(), rel=1e-9)


@given(
    st.lists(
        st.tuples(st.floats(1, 100), st.floats(1, 1000), st.floats(1e-9, 1e-5)),
        min_size=1, max_size=8,
    ),
    st.floats(2e5, 9e8),
)  # fmt: skip
def test_between_crossovers_the_choice_is_the_fastest_that_still_meets(drawn, rate):
    starts, slopes, most = zip(*drawn, strict=True)
    lines = lines_of(starts, slopes, most)
    found = find_crossovers(MODEL, lines, "edge-cloud", BASE, RATES)
    rates = [c.bandwidth_bit_per_s for c in found]
    assert rates == sorted(rates)
    if any(abs(rate / r - 1) < 1e-6 for r in rates):
        return
    above = [c for c in found if c.bandwidth_bit_per_s > rate]
    below = [c for c in found if c.bandwidth_bit_per_s < rate]
    expected = above[0].below if above else below[-1].above if below else fastest_at(lines, rate)
    chosen = fastest_at(lines, rate)
    if chosen is None or expected is None:
        assert chosen == expected
        return

    def latency_s(name):
        index = lines[0].ids.index(name)
        return lines[0].start_s[index] + lines[0].slope[index] / rate

    assert latency_s(expected) == pytest.approx(latency_s(chosen), rel=1e-6)
