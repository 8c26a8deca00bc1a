from contextlib import contextmanager

import pytest

from tierwise.errors import DiskFull, TierFault, UserError
from tierwise.measure.machine import MachineState
from tierwise.measure.outcome import StopReason
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.run import run_blocks
from tierwise.measure.sample import Timing
from tierwise.testing.clock import FakeClock

PLAN = MeasurePlan(min_blocks=30, max_blocks=60)


class Server:
    """Answers every trial after its own time, on a clock that only it moves."""

    def __init__(self, latency_s, *, cold_s=0.0, noise=0.0):
        self.latency_s, self.cold_s, self.noise = latency_s, cold_s, noise
        self.clock = FakeClock()
        self.sent = []
        self.faults = {}

    def send(self, trial, input_index):
        count = sum(name == trial for name, _ in self.sent)
        self.sent.append((trial, input_index))
        if self.faults.get(trial, lambda _: False)(count):
            raise TierFault(f"edge refused {trial}")
        wobble = 1 + self.noise * ((len(self.sent) * 7919) % 101 / 50 - 1)
        latency_s = self.latency_s[trial] * wobble + self.cold_s / 2**count
        self.clock.advance_s(latency_s)
        return Timing(latency_s, {"compute@edge": latency_s}, {"mobile-edge": 10})


class Told:
    """Progress that keeps what it is told: by task, how much there is and how much was done."""

    def __init__(self):
        self.tasks, self.notes = {}, []

    @contextmanager
    def task(self, name, total):
        self.tasks[name] = (total, 0.0)
        self.name = name
        yield self

    def advance(self, steps=1, note=None):
        total, done = self.tasks[self.name]
        self.tasks[self.name] = (total, done + steps)
        if note is not None:
            self.notes.append(note)

    def say(self, message):
        raise AssertionError(message)


def measure(server, plan=PLAN, **options):
    blocks = []
    options = {"n_inputs": 7, "watch": MachineState, "clock": server.clock, **options}
    outcome = run_blocks(list(server.latency_s), server.send, plan, blocks.append, **options)
    return outcome, blocks


def test_a_quiet_machine_needs_the_fewest_blocks():
    outcome, blocks = measure(Server({"a": 0.1, "b": 0.2}))
    assert outcome.reason is StopReason.NARROW
    assert outcome.blocks == len(blocks) == 30
    assert outcome.intervals["b"].estimate == pytest.approx(0.2)
    assert outcome.requests == 60


def test_by_default_intervals_of_2_percent_are_enough():
    assert MeasurePlan().target_relative_width == 0.02
    assert MeasurePlan().budget_s is None


def test_a_noisy_machine_is_measured_up_to_the_most_blocks_and_says_so():
    outcome, _ = measure(Server({"a": 0.1, "b": 0.2}, noise=0.5))
    assert outcome.reason is StopReason.MOST_BLOCKS
    assert outcome.blocks == 60
    assert outcome.intervals["a"].relative_width > PLAN.target_relative_width


def test_progress_says_that_it_is_warming_up_before_it_counts_blocks():
    told = Told()
    measure(Server({"a": 0.1, "b": 0.2}), progress=told)
    assert told.tasks == {"Warming up": (30, 5.0), "Blocks": (60, 30.0)}
    assert told.notes[0] == "2 of 2 trials not settled"
    assert told.notes[4] == "0 of 2 trials not settled"


def test_a_spent_budget_ends_the_measurement_and_says_so():
    plan = MeasurePlan(budget_s=4.0)
    outcome, _ = measure(Server({"a": 0.1, "b": 0.2}), plan)
    assert outcome.reason is StopReason.BUDGET
    assert 4.0 <= outcome.spent_s < 4.4


def test_warm_up_is_bounded_by_the_budget_too():
    plan = MeasurePlan(budget_s=4.0)
    outcome, _ = measure(Server({"a": 0.1}, cold_s=64), plan)
    assert outcome.warm_up.requests == 1
    assert outcome.warm_up.unsettled == ("a",)


def test_every_block_carries_one_input_through_all_trials_in_random_order():
    _, blocks = measure(Server({"a": 0.1, "b": 0.2, "c": 0.3}))
    for block in blocks:
        assert {sample.input_index for sample in block.samples} == {block.input_index}
        assert sorted(block.order) == ["a", "b", "c"]
        assert tuple(sample.trial for sample in block.samples) == block.order
    assert len({block.order for block in blocks}) == 6
    assert sorted(block.input_index for block in blocks[:7]) == list(range(7))


def test_warm_up_lasts_until_the_slope_is_flat_and_is_counted_not_kept():
    server = Server({"a": 0.1}, cold_s=6.4)
    outcome, blocks = measure(server)
    assert outcome.warm_up.unsettled == ()
    # The latency halves towards 0.1 s: six halvings are still steeper than 2% over 5 blocks.
    assert outcome.warm_up.requests > 10
    assert len(server.sent) == outcome.warm_up.requests + len(blocks)
    assert max(sample.latency_s for block in blocks for sample in block.samples) < 0.102


def test_a_trial_that_never_settles_is_named_and_warm_up_ends():
    server = Server({"a": 0.1, "b": 0.1})
    steady = server.send

    def send(trial, input_index):
        server.latency_s["b"] *= 1.05
        return steady(trial, input_index)

    outcome = run_blocks(
        ["a", "b"], send, PLAN, lambda _: None, n_inputs=7, watch=MachineState, clock=server.clock
    )
    assert outcome.warm_up.unsettled == ("b",)
    assert outcome.warm_up.blocks == PLAN.max_warmup_blocks


def test_a_failed_request_is_tried_again_recorded_and_never_a_latency():
    server = Server({"a": 0.1, "b": 0.2})
    server.faults["a"] = lambda count: count == 8
    outcome, blocks = measure(server)
    failures = [failure for block in blocks for failure in block.failures]
    assert [(f.trial, f.attempt, f.message) for f in failures] == [("a", 1, "edge refused a")]
    assert outcome.failures == 1
    assert all(len(block.samples) == 2 for block in blocks)


def test_a_trial_that_keeps_failing_is_given_up_and_the_others_go_on():
    server = Server({"a": 0.1, "b": 0.2})
    server.faults["a"] = lambda count: count >= 8
    outcome, blocks = measure(server)
    assert outcome.abandoned == {"a": "edge refused a"}
    assert outcome.reason is StopReason.NARROW
    assert sum(not any(s.trial == "a" for s in b.samples) for b in blocks) == len(blocks) - 3
    assert blocks[-1].order == ("b",)
    assert all(any(s.trial == "b" for s in block.samples) for block in blocks)


def test_a_trial_that_fails_now_and_then_is_not_given_up():
    server = Server({"a": 0.1, "b": 0.2})
    once = PLAN.attempts * (PLAN.give_up_after - 1)
    # As many blocks without an answer as may be in a row, then one with: again and again.
    server.faults["a"] = lambda count: count >= 8 and (count - 8) % (once + 1) < once
    outcome, _ = measure(server)
    assert outcome.abandoned == {}
    assert outcome.failures > 2 * once


def test_where_sessions_are_opened_anew_every_time_the_others_are_measured_all_the_same():
    server = Server(dict.fromkeys("abcd", 0.1))
    server.faults["a"] = lambda count: count >= 8
    _, blocks = measure(server, recover=lambda _trial, _fault: True)
    assert all({s.trial for s in block.samples} >= set("bcd") for block in blocks)


def test_when_every_trial_fails_the_measurement_says_so():
    server = Server({"a": 0.1})
    server.faults["a"] = lambda count: count >= 5
    outcome, blocks = measure(server)
    assert outcome.reason is StopReason.NO_TRIAL_LEFT
    assert len(blocks) == PLAN.give_up_after
    assert outcome.intervals == {}


def test_sessions_opened_anew_warm_up_again_and_the_block_starts_over():
    server = Server({"a": 0.1, "b": 0.2})
    server.faults["b"] = lambda count: count == 6
    outcome, blocks = measure(server, recover=lambda _trial, _fault: True)
    assert outcome.failures == 1
    hit = next(block for block in blocks if block.failures)
    assert [sample.trial for sample in hit.samples] == list(hit.order)
    clean = measure(Server({"a": 0.1, "b": 0.2}))[1]
    assert [(b.order, b.input_index) for b in blocks] == [(b.order, b.input_index) for b in clean]


def test_an_error_that_is_no_tiers_fault_passes_through():
    def on_block(_block):
        raise DiskFull("no space")

    server = Server({"a": 0.1})
    with pytest.raises(DiskFull, match="no space"):
        run_blocks(["a"], server.send, PLAN, on_block, n_inputs=1, clock=server.clock)


@pytest.mark.parametrize("stop_after", [1, 13, 29])
def test_a_stopped_measurement_goes_on_with_the_blocks_it_would_have_had(stop_after):
    _, whole = measure(Server({"a": 0.1, "b": 0.2}))
    outcome, rest = measure(Server({"a": 0.1, "b": 0.2}), done=whole[:stop_after])
    assert outcome.blocks == 30
    assert [(b.index, b.input_index, b.order) for b in rest] == [
        (b.index, b.input_index, b.order) for b in whole[stop_after:]
    ]


def test_a_finished_measurement_sends_nothing_more():
    _, whole = measure(Server({"a": 0.1, "b": 0.2}))
    server = Server({"a": 0.1, "b": 0.2})
    outcome, rest = measure(server, done=whole)
    assert outcome.reason is StopReason.NARROW
    assert rest == []
    assert server.sent == []


def test_the_time_of_earlier_runs_counts_against_the_budget():
    _, whole = measure(Server({"a": 0.1, "b": 0.2}))
    outcome, rest = measure(
        Server({"a": 0.1, "b": 0.2}), MeasurePlan(budget_s=3.0), done=whole[:10]
    )
    assert outcome.reason is StopReason.BUDGET
    assert rest == []


def test_blocks_of_another_plan_are_refused():
    _, whole = measure(Server({"a": 0.1}))
    with pytest.raises(UserError, match=r"other seeds or inputs.*Keep the study file's seeds"):
        measure(Server({"a": 0.1}), MeasurePlan(seed_inputs=9), done=whole)


def test_nothing_to_measure_and_names_that_clash_are_refused():
    with pytest.raises(UserError, match="0 trials, 3 inputs"):
        run_blocks([], lambda _t, _i: Timing(1.0), PLAN, lambda _: None, n_inputs=3)
    with pytest.raises(UserError, match="Two trials are called 'a'"):
        run_blocks(["a", "a"], lambda _t, _i: Timing(1.0), PLAN, lambda _: None, n_inputs=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_blocks": 0}, "min_blocks is 0; it must be at least 1"),
        ({"min_blocks": 9, "max_blocks": 8}, "min_blocks is 9, but max_blocks is 8"),
        ({"budget_s": -1.0}, "budget_s is -1.0; it must be more than 0"),
        ({"confidence": 1.0}, "confidence is 1.0; it must be at least 0.5 and less than 1"),
        ({"target_relative_width": float("nan")}, "target_relative_width is nan"),
        ({"seed_order": -1}, "seed_order is -1; it must be at least 0"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_names_the_value(wrong, message):
    with pytest.raises(UserError, match=message):
        MeasurePlan(**wrong)


def test_energy_is_kept_with_its_request_and_with_no_other():
    server = Server({"a": 0.1, "b": 0.2})
    read = []

    def used_since_the_last_call():
        # A machine of 10 W; reading it takes nothing.
        joules = 10 * (server.clock.now_s() - (read[-1] if read else 0.0))
        read.append(server.clock.now_s())
        return joules

    def idle_between_blocks():
        server.clock.advance_s(1.0)
        return MachineState()

    _, blocks = measure(server, energy=used_since_the_last_call, watch=idle_between_blocks)
    for sample in (sample for block in blocks for sample in block.samples):
        assert sample.energy_j == pytest.approx(10 * sample.latency_s)
