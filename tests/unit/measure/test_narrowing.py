"""Which trials need no more blocks: told apart, equal, or left open."""

import numpy as np

from tierwise.measure.machine import MachineState
from tierwise.measure.narrowing import Narrowing
from tierwise.measure.outcome import StopReason
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.run import run_blocks
from tierwise.measure.sample import Timing
from tierwise.testing.clock import FakeClock

PLAN = MeasurePlan(min_blocks=10, max_blocks=10)


class Machine:
    """Answers after each trial's own time, with noise that is a function of its seed."""

    def __init__(self, latency_s, noise=0.05, seed=0):
        self.latency_s, self.noise, self.clock = latency_s, noise, FakeClock()
        self.rng = np.random.default_rng(seed)
        self.blocks = []

    def send(self, trial, _):
        latency_s = self.latency_s[trial] * float(np.exp(self.rng.normal(0, self.noise)))
        self.clock.advance_s(latency_s)
        return Timing(latency_s)

    def measure(self, narrowing, trials=None, done=(), plan=PLAN):
        return run_blocks(
            list(trials or self.latency_s), self.send, plan, self.blocks.append, n_inputs=5,
            watch=MachineState, clock=self.clock, narrowing=narrowing, done=done,
        )  # fmt: skip


def blocks_of(blocks, trial):
    return sum(any(s.trial == trial for s in block.samples) for block in blocks)


def test_a_slower_contender_is_left_out_and_the_baseline_after_the_first_look():
    machine = Machine({"best": 0.100, "near": 0.103, "slow": 0.13, "baseline": 0.5}, noise=0.02)
    outcome = machine.measure(Narrowing(["best", "near", "slow"], (20, 40, 80), tests=8))
    assert outcome.reason is StopReason.TOLD_APART
    assert blocks_of(machine.blocks, "slow") == blocks_of(machine.blocks, "baseline") == 20
    assert outcome.blocks == blocks_of(machine.blocks, "best") > 20


def test_what_stays_open_is_measured_up_to_the_last_look_and_said():
    machine = Machine({"a": 0.100, "b": 0.106}, noise=0.05, seed=4)
    outcome = machine.measure(Narrowing(["a", "b"], (20, 40, 80), tests=8))
    assert outcome.reason is StopReason.MOST_BLOCKS
    assert outcome.blocks == 80


def test_what_more_blocks_could_hardly_settle_is_left_open_early_and_said():
    machine = Machine({"a": 0.100, "b": 0.101, "slow": 0.9}, noise=0.3)
    outcome = machine.measure(Narrowing(["a", "b", "slow"], (20, 40, 80), tests=8))
    assert outcome.reason is StopReason.NOT_WORTH_IT
    assert outcome.blocks == 20
    # The samples that the required percentile needs are there in any case.
    machine = Machine({"a": 0.100, "b": 0.101}, noise=0.3)
    least = Narrowing(["a", "b"], (20, 40, 80), tests=8, least_blocks=30)
    assert machine.measure(least).blocks == 40
    assert blocks_of(machine.blocks, "a") == blocks_of(machine.blocks, "b") == 40


def test_what_was_measured_a_moment_ago_is_warm():
    machine = Machine({"a": 0.1, "b": 0.2})
    sent = []
    run_blocks(
        ["a", "b"], lambda trial, _: sent.append(trial) or machine.send(trial, _), PLAN,
        machine.blocks.append, n_inputs=5, watch=MachineState, clock=machine.clock, warm={"b"},
    )  # fmt: skip
    assert sent.count("b") == PLAN.min_blocks + 2
    assert sent.count("a") >= PLAN.min_blocks + PLAN.min_warmup_blocks


def test_a_single_contender_has_nothing_to_be_told_apart_from():
    outcome = Machine({"a": 0.1}).measure(Narrowing(["a"], (10, 20), tests=8))
    assert (outcome.reason, outcome.blocks) == (StopReason.TOLD_APART, 10)
    least = Narrowing(["a"], (10, 20, 40), tests=8, least_blocks=15)
    assert Machine({"a": 0.1}).measure(least).blocks == 20


def test_too_few_blocks_for_any_test_decide_nothing():
    machine = Machine({"a": 0.1, "b": 0.9})  # 4 blocks show nothing, however far apart
    outcome = machine.measure(Narrowing(["a", "b"], (4, 8, 16, 32), tests=8))
    assert outcome.blocks >= 8


def test_a_resumed_measurement_leaves_out_what_the_first_one_left_out():
    latency_s = {"best": 0.100, "near": 0.102, "slow": 0.13}
    whole, first = Machine(latency_s, 0.02), Machine(latency_s, 0.02)
    looks = (20, 40, 80, 160)
    whole.measure(Narrowing(list(latency_s), looks, tests=8))
    kept = whole.blocks[:31]
    first.measure(Narrowing(list(latency_s), looks, tests=8), done=tuple(kept))
    assert all("slow" not in block.order for block in first.blocks)
    assert first.blocks[0].index == 31


def test_a_spent_budget_ends_it_between_looks():
    machine = Machine({"a": 0.100, "b": 0.1001}, noise=0.3)
    plan = MeasurePlan(min_blocks=10, max_blocks=10, budget_s=5.0)
    outcome = machine.measure(Narrowing(["a", "b"], (20, 400), tests=8), plan=plan)
    assert outcome.reason is StopReason.BUDGET
