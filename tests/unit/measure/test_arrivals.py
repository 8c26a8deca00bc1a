from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest

from tierwise.errors import TierFault
from tierwise.measure.arrivals import poisson_gaps_s, send_open_loop
from tierwise.measure.clock import SystemClock
from tierwise.measure.machine import MachineState
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.run import run_blocks
from tierwise.measure.sample import Timing
from tierwise.testing.clock import FakeClock


class OneAtATime(Executor):
    """Runs what is submitted at once: a server with a single place, on a clock that it moves."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except TierFault as fault:
            future.set_exception(fault)
        return future


def server(clock, latency_s):
    def send(*_):
        clock.advance_s(latency_s)
        return Timing(latency_s, {"compute@edge": latency_s})

    return send


def test_gaps_are_exponential_with_the_rate_that_was_asked_for():
    gaps_s = poisson_gaps_s(50.0, 20_000, (1, 2))
    assert np.mean(gaps_s) == pytest.approx(1 / 50, rel=0.03)
    assert np.std(gaps_s) == pytest.approx(1 / 50, rel=0.03)
    assert gaps_s == poisson_gaps_s(50.0, 20_000, (1, 2))
    assert gaps_s != poisson_gaps_s(50.0, 20_000, (1, 3))


def test_latency_counts_from_the_scheduled_moment():
    clock = FakeClock()
    # Due at 1.0, 1.1 and 5.0 s; the second waits for the first to end at 1.5 s.
    arrivals = send_open_loop(server(clock, 0.5), [1.0, 0.1, 3.9], clock, OneAtATime())
    assert [a.timing.latency_s for a in arrivals] == pytest.approx([0.5, 0.9, 0.5])
    assert [a.late for a in arrivals] == [False, True, False]
    assert arrivals[1].timing.parts_s == pytest.approx({"compute@edge": 0.5, "wait@client": 0.4})
    assert sum(arrivals[1].timing.parts_s.values()) == pytest.approx(0.9)


def test_a_fault_is_raised_after_every_request_has_ended():
    clock, sent = FakeClock(), []

    def send():
        sent.append(clock.now_s())
        if len(sent) == 1:
            raise TierFault("edge is gone")
        return Timing(0.0)

    with pytest.raises(TierFault, match="edge is gone"):
        send_open_loop(send, [1.0, 1.0, 1.0], clock, OneAtATime())
    assert sent == [1.0, 2.0, 3.0]


def test_requests_overlap_where_threads_carry_them():
    clock = SystemClock()
    with ThreadPoolExecutor(4) as pool:
        arrivals = send_open_loop(lambda: Timing(1.0), [0.0, 0.001, 0.0, 0.001], clock, pool)
    assert len(arrivals) == 4
    assert all(arrival.sent_s >= arrival.scheduled_s for arrival in arrivals)


def test_blocks_of_an_open_loop_count_their_late_requests():
    plan = MeasurePlan(
        min_blocks=30, max_blocks=30, requests_per_visit=20, arrivals_per_s=5.0, min_warmup_blocks=5
    )
    clock = FakeClock()
    blocks = []
    outcome = run_blocks(
        ["a"],
        server(clock, 0.1),
        plan,
        blocks.append,
        n_inputs=4,
        watch=MachineState,
        clock=clock,
        pool=OneAtATime(),
    )
    samples = [sample for block in blocks for sample in block.samples]
    assert len(samples) == outcome.requests == 600
    # A server half as busy as it can be: an arrival finds it busy half of the time (M/D/1).
    assert outcome.late_share == pytest.approx(0.5, abs=0.08)
    assert np.mean([s.latency_s for s in samples]) == pytest.approx(0.15, rel=0.15)
