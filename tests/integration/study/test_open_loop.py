"""Poisson arrivals from the study file on: queues show in the latency, and lateness is told."""

import numpy as np
import pytest

from tierwise.measure.arrivals import WAIT_PART
from tierwise.store.results import TrialState
from tierwise.study.parse import read_study_file
from tierwise.study.run import run_study

OPEN = "{arrivals: 20000, burst: 12, samples: 60, inputs: 4, backend: userspace}"


def rewritten(study_file, measure):
    """With another `measure`, two strategies and one network."""
    text = study_file.read_text("utf-8")
    text = text.replace("{samples: 6, strategies: all}", measure)
    text = text.replace("[I, Q, E, P, QEP]", "[I, P]").replace("[20Mbit, 100Mbit]", "100Mbit")
    study_file.write_text(text, "utf-8")
    return study_file


@pytest.mark.slow
def test_requests_queue_where_they_come_faster_than_they_are_answered(subject, tmp_path):
    study = rewritten(subject, OPEN)
    results = run_study(study, tmp_path / "results")
    measured = [t for t in results.trials if t.state is TrialState.MEASURED]
    # Every strategy: nothing is predicted for an open loop.
    assert measured
    assert not any(t.state is TrialState.PREDICTED for t in results.trials)
    assert results.environment["requests"].startswith("open loop, Poisson arrivals at 20000")
    for trial in measured:
        blocks, counts = np.unique(trial.block, return_counts=True)
        assert len(blocks) == 8  # verdicts need so many, though 5 bursts hold 60 samples
        assert set(counts) == {12}
        assert WAIT_PART in trial.parts_s
        parts = sum(trial.parts_s.values())
        assert np.allclose(parts, trial.latency_s, rtol=0.02)
        # Behind others on the tier or, where a busy machine sends late, before it was sent: most
        # of a burst comes while its first is computed.
        first = trial.strategy.tiers[0]
        waited = trial.parts_s[f"queue@{first}"] + trial.parts_s[WAIT_PART]
        assert np.quantile(waited, 0.75) > np.median(trial.parts_s[f"compute@{first}"])


def test_the_section_says_what_it_means(subject):
    spec = read_study_file(rewritten(subject, OPEN)).measure
    plan = spec.plan()
    assert spec.every
    assert (plan.arrivals_per_s, plan.requests_per_visit, plan.min_blocks) == (20000, 12, 8)
    assert len({plan.seed_inputs, plan.seed_order, plan.seed_arrivals}) == 3
