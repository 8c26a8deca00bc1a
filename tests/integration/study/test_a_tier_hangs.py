"""A tier's agent that is only stopped in the middle of a block: it keeps its connections."""

import os
import signal
from functools import partial

import pytest
from tests.integration.study.conftest import assert_whole

from tierwise.serving.client import AgentClient
from tierwise.study import deployment
from tierwise.study.deployment import Deployment
from tierwise.study.run import run_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]
STOPPED_IN_BLOCK = 2
PATIENCE_S = 10.0


def test_a_head_that_is_stopped_costs_its_block_and_nothing_else(
    split_and_whole, blocks, tmp_path, monkeypatch
):
    stopped, send = [], Deployment.send
    # As long as anybody could wait for the answer; the product waits for 2 minutes.
    monkeypatch.setattr(deployment, "AgentClient", partial(AgentClient, timeout_s=PATIENCE_S))
    monkeypatch.setattr(deployment, "_SILENT_S", 2.0)

    def send_to_stopped(self, strategy, payload):
        if not stopped and len(blocks) == STOPPED_IN_BLOCK and len(strategy.tiers) == 2:
            stopped.append(self.running._status("mobile")["pid"])
            os.kill(stopped[0], signal.SIGSTOP)
        return send(self, strategy, payload)

    monkeypatch.setattr(Deployment, "send", send_to_stopped)
    results = run_study(split_and_whole, tmp_path / "out")

    assert len(stopped) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(stopped[0], 0)  # it was ended, not left behind
    assert [block.index for block in blocks if block.failures] == [STOPPED_IN_BLOCK]
    hit = blocks[STOPPED_IN_BLOCK]
    assert "did not answer in time" in hit.failures[0].message
    # The block began anew, and nobody's latency has the time in which nothing answered.
    assert sorted(sample.trial for sample in hit.samples) == sorted(hit.order)
    assert all(sample.started_at_s >= hit.started_at_s for sample in hit.samples)
    assert all(sample.latency_s < PATIENCE_S for block in blocks for sample in block.samples)
    assert_whole(results, blocks, split_and_whole, tmp_path / "out")
