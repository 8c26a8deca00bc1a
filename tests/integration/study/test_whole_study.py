"""Whole studies over real agents, real sockets and shaped links."""

import json
import signal
import sqlite3
import time

import numpy as np
import pytest
from tests.integration.study.conftest import CHANNELS, SIDE

from tierwise.caveats import WarningKind
from tierwise.deploy.study_files import deploy_study
from tierwise.errors import UserError
from tierwise.operators.strategy import Operator
from tierwise.recommend.outlook import predict
from tierwise.recommend.requirement import Requirement
from tierwise.store.read import read_results
from tierwise.store.results import TrialState
from tierwise.study.run import outline_study, run_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]
SAMPLES = 6


def check_complete(folder, samples=SAMPLES):
    results = read_results(folder)
    # I, Q, E on two tiers each; P and QEP on the one pair; under two conditions.
    assert len(results.trials) == 2 * (3 * 2 + 2)
    told = results.environment["energy"].startswith("RAPL")
    assert told or results.environment["energy"].startswith("not available here")
    for trial in results.trials:
        assert trial.state is TrialState.MEASURED, (trial.strategy.id, trial.reason)
        assert trial.block.tolist() == list(range(samples)), trial.strategy.id
        total = np.sum(list(trial.parts_s.values()), axis=0)
        np.testing.assert_allclose(total, trial.latency_s, rtol=0.05)
        assert set(trial.cold_start.load_s) == set(trial.strategy.tiers)
        assert trial.cold_start.total_s > trial.cold_start.first_s > 0
        assert set(trial.memory_bytes) == set(trial.strategy.tiers)
        assert set(trial.wire_bytes) == (
            {"mobile-cloud"} if "cloud" in trial.strategy.tiers else set()
        )
        # Every sample has a figure, or the machine is said to have none.
        assert trial.energy_j.size == (samples if told else 0)
    # Every request of a block carried the same input.
    for condition in results.conditions:
        inputs = {tuple(t.input_index) for t in results.trials if t.condition == condition}
        assert len(inputs) == 1
    return results


def check_boundaries(results):
    """Floats cross smaller than they are and are judged so; integers lose nothing."""
    by_operator = {t.strategy.operator: t for t in results.trials if t.strategy.cuts}
    floats, integers = by_operator[Operator.P], by_operator[Operator.QEP]
    assert floats.strategy.encoding.startswith("int8")
    assert floats.strategy.lossy
    own = results.quality_of(floats.strategy)
    assert own is results.quality[floats.strategy.id]
    assert own.n == results.quality["I"].n
    raw_bytes = 4 * CHANNELS * SIDE * SIDE
    assert floats.wire_bytes["mobile-cloud"] < raw_bytes / 3
    if integers.strategy.variant == "QE" and results.variants["QE"].notes[0].startswith("QDQ"):
        assert not integers.strategy.lossy
        assert results.quality_of(integers.strategy) is results.quality["QE"]


@pytest.mark.parametrize("backend", ["auto", "userspace"])
def test_a_whole_study_ends_with_every_trial_measured(subject, tmp_path, backend):
    text = subject.read_text().replace("samples: 6", f"samples: 6, backend: {backend}")
    text = text.replace("quality:", "  partition: {cut: 0.5, max_loss: 100}\nquality:")
    subject.write_text(text)
    run_study(subject, tmp_path / "out")
    results = check_complete(tmp_path / "out")
    assert set(results.variants) == {"I", "Q", "E", "QE"}
    assert results.quality["I"].n == 40
    assert results.quality["I"].loss == 0.0
    probed = {"cpu factor", "bandwidth_bit_per_s", "rtt_s", "compute of requests"}
    assert {p.quantity for p in results.probes} == probed
    # On half a core; of six requests under each of two networks.
    shares = [p for p in results.probes if p.quantity == "compute of requests"]
    assert {p.subject for p in shares} == {"mobile/I", "mobile/Q", "mobile/E"}
    assert {p.asked for p in shares} == {0.5}
    assert all(p.backend.startswith("12 requests on mobile, 12 on cloud") for p in shares)
    assert "CPU" in results.environment
    assert results.environment["links"]
    assert WarningKind.OUTPUT_DIFFERS not in {w.kind for w in results.warnings}
    split = next(t for t in results.trials if t.strategy.operator.partitions)
    assert split.parts_s.keys() >= {"compute@mobile", "compute@cloud", "transfer@mobile-cloud"}
    assert split.wire_bytes["mobile-cloud"] > 0
    check_boundaries(results)
    here = next(t for t in results.trials if t.strategy.tiers == ("mobile",))
    assert not here.wire_bytes
    assert here.memory_bytes["mobile"] > 10_000_000

    started = time.monotonic()
    run_study(subject, tmp_path / "out")
    assert time.monotonic() - started < 10, "a finished study must not start tiers again"

    subject.write_text(text.replace("samples: 6", "samples: 8"))
    run_study(subject, tmp_path / "out")
    again = check_complete(tmp_path / "out", samples=8)
    before, after = results.trials[0].latency_s, again.trials[0].latency_s
    np.testing.assert_array_equal(before, after[:SAMPLES])

    subject.write_text(text.replace("rtt: 2ms", "rtt: 3ms"))
    with pytest.raises(UserError, match=r"links\.mobile-cloud\.rtt.*was.*2ms.*is.*3ms.*--fresh"):
        run_study(subject, tmp_path / "out")


def blocks_in(folder):
    path = folder / "tierwise.db"
    if not path.exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT count(*) FROM blocks").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.OperationalError:
        return 0


def until_blocks(process, folder, count):
    deadline = time.monotonic() + 90
    while blocks_in(folder) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no block was measured in 90 s"
        time.sleep(0.02)


def test_interrupted_it_says_so_and_leaves_no_process(subject, tmp_path, tierwise):
    out = tmp_path / "out"
    # So long that it is not over before the signal comes.
    subject.write_text(subject.read_text().replace("{samples: 6,", "{samples: 2000,"))
    process = tierwise("run", subject, "-o", out)
    until_blocks(process, out, 1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on from there" in stderr
    assert "Traceback" not in stderr
    assert read_results(out).trials


def test_a_tier_too_small_for_anything_is_a_result(subject, tmp_path):
    text = subject.read_text().replace("[I, Q, E, P, QEP]", "[I]").replace("1GiB", "12MiB")
    subject.write_text(text)
    results = run_study(subject, tmp_path / "out")
    states = {(t.strategy.id, t.state) for t in results.trials}
    assert states == {
        ("mobile/I", TrialState.DOES_NOT_FIT),
        ("cloud/I", TrialState.MEASURED),
    }
    small = next(t for t in results.trials if t.state is TrialState.DOES_NOT_FIT)
    assert "mobile" in small.reason
    assert "12 MiB" in small.reason


def test_the_plan_shows_the_grid_and_runs_nothing(subject, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    outline = outline_study(subject)
    assert [p.id for p in outline.placements][:3] == ["mobile/I", "cloud/I", "mobile/Q"]
    assert len(outline.conditions) == 2
    assert outline.estimate_s > 0
    assert sorted(tmp_path.rglob("*")) == before


CHAINS = """\
model: model.onnx
task: classification
data: {npz: data.npz}
tiers: {mobile: {cpus: 0.5}, edge: {cpus: 0.5}, cloud: {cpus: 1.0}}
links:
  mobile-edge: {bandwidth: 100Mbit, rtt: 1ms}
  edge-cloud: {bandwidth: 20Mbit, rtt: 2ms}
operators: {use: [I, P], partition: {most_tiers: 3, max_loss: 100, private: raw-input}}
quality: {calibration: 24, evaluation: 40}
measure: {samples: 3}
"""


def test_three_tiers_in_a_chain_and_the_raw_input_stays_where_it_is(subject, tmp_path):
    subject.write_text(CHAINS)
    results = run_study(subject, tmp_path / "out")
    state = {t.strategy.placement + "/" + t.strategy.operator.value: t for t in results.trials}
    measured = {name for name, t in state.items() if t.state is TrialState.MEASURED}
    assert measured == {"mobile/I", "mobile-edge/P", "mobile-cloud/P", "mobile-edge-cloud/P"}
    assert {t.reason for name, t in state.items() if name not in measured} == {
        "privacy: the raw input would leave mobile"
    }
    chain = state["mobile-edge-cloud/P"]
    assert len(chain.strategy.cuts) == 2
    assert {f"compute@{tier}" for tier in ("mobile", "edge", "cloud")} <= chain.parts_s.keys()
    assert {"transfer@mobile-edge", "transfer@edge-cloud"} <= chain.parts_s.keys()
    assert {*chain.wire_bytes} == {"mobile-edge", "edge-cloud"}
    assert WarningKind.OUTPUT_DIFFERS not in {w.kind for w in results.warnings}
    predicted = predict(results, Requirement()).recommendation.verdicts[0]
    assert {a.trial.strategy.placement for a in predicted.strategies} >= {"mobile-edge-cloud"}
    written = deploy_study(
        tmp_path / "out", Requirement(), tmp_path / "rollout", strategy_id=chain.strategy.id
    )
    stages = [json.loads(path.read_text()) for path in written.files if path.name == "stage.json"]
    assert [stage["next"] is None for stage in stages] == [False, False, True]
    assert [*stages[0]["encodings"]] == [name for name, _ in chain.strategy.encodings[0]]
    assert "as `int8(" in (tmp_path / "rollout" / "README.md").read_text()
