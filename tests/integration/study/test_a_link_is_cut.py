"""A link that is cut for three seconds in the middle of a block: requests wait, none is lost."""

import threading

import pytest
from tests.integration.study.conftest import assert_whole

from tierwise.study.deployment import Deployment
from tierwise.study.run import run_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]
CUT_IN_BLOCK, CUT_S = 2, 3.0
LINK = "mobile-cloud"


def test_a_link_cut_for_three_seconds_holds_requests_up_and_nothing_else(
    split_and_whole, blocks, tmp_path, monkeypatch
):
    mending, send = [], Deployment.send

    def send_and_cut(deployment, strategy, payload):
        if not mending and len(blocks) == CUT_IN_BLOCK and strategy.tiers[-1] == "cloud":
            deployment.running.cut(LINK)
            mending.append(threading.Timer(CUT_S, deployment.running.mend, [LINK]))
            mending[0].start()
        return send(deployment, strategy, payload)

    monkeypatch.setattr(Deployment, "send", send_and_cut)
    results = run_study(split_and_whole, tmp_path / "out")
    mending[0].join()

    # Whoever crossed the link meanwhile waited as a user would, and that is its latency; or its
    # request failed, and then no sample is of that time.
    slow = [s for block in blocks for s in block.samples if s.latency_s >= CUT_S]
    failed = [failure for block in blocks for failure in block.failures]
    assert slow or failed
    assert all(sample in blocks[CUT_IN_BLOCK].samples for sample in slow)
    assert all("cloud" in sample.trial for sample in slow)
    for trial in results.trials:
        for block, latency_s in enumerate(trial.latency_s):
            if block != CUT_IN_BLOCK:
                assert latency_s < CUT_S
    assert_whole(results, blocks, split_and_whole, tmp_path / "out")
