"""A tier's agent that dies in the middle of a block: started again, its block measured anew."""

import pytest

from tierwise.caveats import WarningKind
from tierwise.store.results import TrialState
from tierwise.store.write import StudyStore
from tierwise.study.deployment import Deployment
from tierwise.study.run import run_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]
SAMPLES = 4
DIES_IN_BLOCK = 2


@pytest.fixture
def kill_in_block(monkeypatch, tmp_path):
    """Kills a tier's agent behind the first answer of block 2, once; tells when it did."""

    def arrange(tier):
        killed, send = [], Deployment.send

        def send_and_kill(deployment, strategy, payload):
            timing = send(deployment, strategy, payload)
            if not killed and blocks_begun(deployment) == DIES_IN_BLOCK:
                deployment.running.kill(tier)
                killed.append(strategy)
            return timing

        finished = []
        add_block = StudyStore.add_block

        def count(store, condition, block):
            add_block(store, condition, block)
            finished.append(block)

        def blocks_begun(_):
            return len(finished)

        monkeypatch.setattr(StudyStore, "add_block", count)
        monkeypatch.setattr(Deployment, "send", send_and_kill)
        return killed, finished

    return arrange


@pytest.mark.parametrize("tier", ["mobile", "cloud"])
def test_a_tier_that_dies_in_a_block_is_revived_and_the_block_starts_over(
    subject, tmp_path, kill_in_block, tier
):
    text = subject.read_text().replace("[I, Q, E, P, QEP]", "[I, P]")
    text = text.replace("[20Mbit, 100Mbit]", "100Mbit").replace("samples: 6", f"samples: {SAMPLES}")
    subject.write_text(text)
    killed, blocks = kill_in_block(tier)
    results = run_study(subject, tmp_path / "out")

    assert len(killed) == 1
    assert {trial.state for trial in results.trials} == {TrialState.MEASURED}
    assert [trial.block.tolist() for trial in results.trials] == [[*range(SAMPLES)]] * 3
    hit = blocks[DIES_IN_BLOCK]
    assert [block.index for block in blocks if block.failures] == [DIES_IN_BLOCK]
    # One sample a trial, all of the block's second beginning: none from before the fault, and
    # the time of the request that failed is in none of them.
    assert sorted(sample.trial for sample in hit.samples) == sorted(hit.order)
    assert all(sample.started_at_s >= hit.started_at_s for sample in hit.samples)
    assert sum(sample.latency_s for sample in hit.samples) <= hit.duration_s
    for trial in results.trials:
        total = sum(parts[DIES_IN_BLOCK] for parts in trial.parts_s.values())
        assert total == pytest.approx(trial.latency_s[DIES_IN_BLOCK], rel=0.05)
    (warning,) = [w for w in results.warnings if w.kind is WarningKind.RETRIED]
    assert warning.evidence.startswith(f"{len(hit.failures)} request")
    assert "not counted" in warning.advice
