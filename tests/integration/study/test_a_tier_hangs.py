"""A tier's agent that is only stopped in the middle of a block: it keeps its connections."""

import os
import signal
from functools import partial

import pytest

from tierwise.serving.client import AgentClient
from tierwise.store.results import TrialState
from tierwise.store.write import StudyStore
from tierwise.study import deployment
from tierwise.study.deployment import Deployment
from tierwise.study.run import run_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]
SAMPLES, STOPPED_IN_BLOCK = 4, 2
PATIENCE_S = 10.0


def test_a_head_that_is_stopped_costs_its_block_and_nothing_else(subject, tmp_path, monkeypatch):
    text = subject.read_text().replace("[I, Q, E, P, QEP]", "[I, P]")
    text = text.replace("[20Mbit, 100Mbit]", "100Mbit").replace("samples: 6", f"samples: {SAMPLES}")
    subject.write_text(text)
    blocks, stopped, send, add_block = [], [], Deployment.send, StudyStore.add_block
    # As long as anybody could wait for the answer; the product waits for 2 minutes.
    monkeypatch.setattr(deployment, "AgentClient", partial(AgentClient, timeout_s=PATIENCE_S))
    monkeypatch.setattr(deployment, "_SILENT_S", 2.0)

    def send_to_stopped(self, strategy, payload):
        if not stopped and len(blocks) == STOPPED_IN_BLOCK and len(strategy.tiers) == 2:
            stopped.append(self.running._status("mobile")["pid"])
            os.kill(stopped[0], signal.SIGSTOP)
        return send(self, strategy, payload)

    def count(store, condition, block):
        add_block(store, condition, block)
        blocks.append(block)

    monkeypatch.setattr(Deployment, "send", send_to_stopped)
    monkeypatch.setattr(StudyStore, "add_block", count)
    results = run_study(subject, tmp_path / "out")

    assert len(stopped) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(stopped[0], 0)  # it was ended, not left behind
    assert {trial.state for trial in results.trials} == {TrialState.MEASURED}
    assert [trial.block.tolist() for trial in results.trials] == [[*range(SAMPLES)]] * 3
    assert [block.index for block in blocks if block.failures] == [STOPPED_IN_BLOCK]
    hit = blocks[STOPPED_IN_BLOCK]
    assert "did not answer in time" in hit.failures[0].message
    # The block began anew, and nobody's latency has the time in which nothing answered.
    assert sorted(sample.trial for sample in hit.samples) == sorted(hit.order)
    assert all(sample.started_at_s >= hit.started_at_s for sample in hit.samples)
    assert all(sample.latency_s < PATIENCE_S for block in blocks for sample in block.samples)
    before = len(blocks)
    assert run_study(subject, tmp_path / "out").trials
    assert len(blocks) == before
