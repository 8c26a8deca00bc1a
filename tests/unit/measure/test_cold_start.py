import pytest

from tierwise.errors import TooFewSamples
from tierwise.measure.cold_start import measure_cold_start
from tierwise.measure.sample import Timing
from tierwise.testing.clock import FakeClock


class Tier:
    """Loads in 2 s; the first request takes 1 s, the others 0.1 s."""

    def __init__(self):
        self.clock, self.warm, self.loaded = FakeClock(), False, True

    def unload(self):
        self.warm = self.loaded = False
        self.clock.advance_s(9.0)

    def load(self):
        self.loaded = True
        self.clock.advance_s(2.0)

    def send(self, _input_index):
        assert self.loaded
        latency_s, self.warm = (0.1 if self.warm else 1.0), True
        self.clock.advance_s(latency_s)
        return Timing(latency_s)


def test_loading_and_the_first_request_are_told_apart_from_later_ones():
    tier = Tier()
    cold = measure_cold_start(tier.unload, tier.load, tier.send, repeats=3, clock=tier.clock)
    assert cold.load_s == pytest.approx((2.0, 2.0, 2.0))
    assert cold.first_s == (1.0, 1.0, 1.0)
    assert cold.second_s == (0.1, 0.1, 0.1)
    assert cold.total_s == pytest.approx(3.0)
    assert cold.penalty == pytest.approx(10.0)


def test_no_repeats_are_refused():
    tier = Tier()
    with pytest.raises(TooFewSamples, match=r"\(repeats\) needs at least 1"):
        measure_cold_start(tier.unload, tier.load, tier.send, repeats=0)
