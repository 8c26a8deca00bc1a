"""One seed for each thing that is random: changing it changes that, and nothing else."""

from concurrent.futures import Executor, Future
from dataclasses import replace
from itertools import pairwise

import pytest

from tierwise.measure.arrivals import WAIT_PART
from tierwise.measure.machine import MachineState
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.run import run_blocks
from tierwise.measure.sample import Timing
from tierwise.testing.clock import FakeClock

TRIALS = tuple("abcdef")
PLAN = MeasurePlan(
    min_blocks=12, max_blocks=12, requests_per_visit=3, arrivals_per_s=10.0, min_warmup_blocks=5
)


class AtOnce(Executor):
    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def drawn(plan):
    """What was random in a measurement: warm-up's part of it, and the blocks'."""
    clock, sent, blocks = FakeClock(), [], []

    def send(trial, input_index):
        sent.append((trial, input_index, clock.now_s()))
        return Timing(0.0)

    outcome = run_blocks(
        TRIALS, send, plan, blocks.append, n_inputs=20, watch=MachineState, clock=clock,
        pool=AtOnce(),
    )  # fmt: skip
    warm = sent[: outcome.warm_up.requests]
    assert outcome.warm_up.blocks == 5
    turns = [warm[i : i + 3] for i in range(0, len(warm), 3)]
    moments = [[s for *_, s in turn] for turn in turns]
    for block in blocks:
        for trial in TRIALS:
            own = [sample for sample in block.samples if sample.trial == trial]
            assert all(sample.parts_s[WAIT_PART] == 0 for sample in own)
            moments.append([sample.started_at_s for sample in own])
    # The k-th turn's gaps, by trial and not by order: every trial of a block has the same.
    gaps = [[round(b - a, 9) for a, b in pairwise(own)] for own in moments]
    return {
        "seed_inputs": [i for _, i, _ in warm] + [block.input_index for block in blocks],
        "seed_order": [t for t, *_ in warm] + [block.order for block in blocks],
        "seed_arrivals": gaps,
    }


@pytest.mark.parametrize("name", ["seed_inputs", "seed_order", "seed_arrivals"])
def test_a_seed_changes_what_it_is_for_and_nothing_else(name):
    before, after = drawn(PLAN), drawn(replace(PLAN, **{name: 99}))
    assert {key for key in before if before[key] != after[key]} == {name}
    half = {"seed_inputs": 90, "seed_order": 90, "seed_arrivals": 30}[name]
    assert before[name][:half] != after[name][:half], "warm-up is not drawn anew"
    assert before[name][half:] != after[name][half:], "blocks are not drawn anew"


def test_the_same_seeds_draw_the_same():
    assert drawn(PLAN) == drawn(PLAN)
