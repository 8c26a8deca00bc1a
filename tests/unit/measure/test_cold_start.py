import pytest

from tierwise.errors import TooFewSamples
from tierwise.measure.cold_start import ColdStart, measure_cold_start
from tierwise.measure.sample import Timing
from tierwise.testing.clock import FakeClock


class Chain:
    """Loads in 2 s on the edge and 3 s on the cloud; the first request computes 0.9 s longer."""

    def __init__(self):
        self.clock, self.warm, self.loaded = FakeClock(), False, []
        self.loads = {"cloud": self.load_cloud, "edge": self.load_edge}

    def unload(self):
        self.warm, self.loaded = False, []
        self.clock.advance_s(9.0)

    def load_cloud(self):
        self.loaded.append("cloud")
        self.clock.advance_s(3.0)

    def load_edge(self):
        assert self.loaded == ["cloud"], "the tail first: a head answers only where it has one"
        self.loaded.append("edge")
        self.clock.advance_s(2.0)

    def send(self, _input_index):
        assert self.loaded == ["cloud", "edge"]
        compute_s, self.warm = (0.1 if self.warm else 1.0), True
        self.clock.advance_s(compute_s + 0.2)
        return Timing(compute_s + 0.2, {"compute@edge": compute_s, "compute@cloud": 0.2})


def measure(chain, **options):
    return measure_cold_start(chain.unload, chain.loads, chain.send, clock=chain.clock, **options)


def test_loading_and_the_first_request_are_told_apart_from_later_ones():
    cold = measure(Chain(), repeats=3)
    assert cold.load_s["edge"] == pytest.approx((2.0, 2.0, 2.0))
    assert cold.load_s["cloud"] == pytest.approx((3.0, 3.0, 3.0))
    assert cold.first_s == pytest.approx(1.2)
    assert cold.second_s == pytest.approx(0.3)
    assert cold.total_s == pytest.approx(6.2)
    assert cold.tier_s("edge") == pytest.approx((2.0, 0.9))
    assert cold.tier_s("cloud") == pytest.approx((3.0, 0.0))


def test_every_figure_is_of_the_start_that_took_the_median_time():
    # Medians part by part would be 2 s each: 6 s, and every start took longer.
    cold = ColdStart(
        {"cloud": (1.0, 2.0, 6.0), "edge": (2.0, 5.0, 1.0)},
        (Timing(9.0), Timing(1.0), Timing(2.0)),
        (Timing(0.7), Timing(0.8), Timing(0.9)),
    )
    assert (cold.total_s, cold.first_s, cold.second_s) == (9.0, 2.0, 0.9)
    assert (cold.tier_s("cloud")[0], cold.tier_s("edge")[0]) == (6.0, 1.0)


def test_it_stops_when_enough_time_is_spent():
    cold = measure(Chain(), repeats=5, most_s=20.0)
    assert len(cold.first) == len(cold.second) == len(cold.load_s["edge"]) == 2


def test_no_repeats_are_refused():
    with pytest.raises(TooFewSamples, match=r"\(repeats\) needs at least 1"):
        measure(Chain(), repeats=0)
