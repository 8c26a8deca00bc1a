"""Studies that measure what prediction leaves open, over real agents; killed, and gone on with."""

import json
import sqlite3
import time

import numpy as np
import pytest

from tierwise.store.read import read_results
from tierwise.store.results import TrialState
from tierwise.study.run import run_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]


@pytest.fixture
def chosen(subject):
    """The subject's study, choosing what it measures among eight strategies."""
    text = subject.read_text().replace("samples: 6, strategies: all", "samples: 8, max_samples: 16")
    subject.write_text(text.replace("require: {", "require: {latency: p50=10s, "))
    return subject


def check(folder):
    results = read_results(folder)
    assert len(results.trials) == 2 * (3 * 2 + 2)
    assert len(results.profile) >= 6
    assert all(len(t.latency_s) == 10 for t in results.profile)
    assert set(results.rounds) == set(results.conditions)
    for trial in results.trials:
        if results.chosen_as(trial) is None:
            assert trial.state is TrialState.PREDICTED, trial.strategy.id
            low_s, median_s, high_s = trial.predicted_s
            assert 0 <= low_s < median_s < high_s
            assert not len(trial.latency_s)
        else:
            assert trial.state is TrialState.MEASURED, trial.strategy.id
            assert len(trial.latency_s) >= 8
            assert len(set(trial.block.tolist())) == len(trial.block)
    return results


def test_some_are_measured_the_others_predicted_and_no_result_mixes_them(
    chosen, tmp_path, tierwise
):
    out = tmp_path / "out"
    process = tierwise("run", chosen, "-o", out, "--json")
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    assert "Profile:" in stderr
    answer = json.loads(stdout)
    results = check(out)
    for one in answer["strategies"]:
        assert (one["latency_s"]["n"] == 0) == (one["state"] == "predicted")
        assert (one["state"] == "predicted") == (one["chosen_as"] is None)
    for verdict in answer["recommended"]:
        trial = next(
            t
            for t in results.trials
            if t.strategy.id == verdict["id"] and t.condition.id == verdict["condition"]
        )
        assert trial.state is TrialState.MEASURED
    started = time.monotonic()
    run_study(chosen, out)
    assert time.monotonic() - started < 10, "a finished study must not start tiers again"

    # Everything, on top of what is there.
    chosen.write_text(
        chosen.read_text().replace("samples: 8, max", "strategies: all, samples: 8, max")
    )
    every = run_study(chosen, out)
    assert {t.state for t in every.trials} == {TrialState.MEASURED}
    before = {(t.strategy, t.condition): t.latency_s for t in results.trials}
    for trial in every.trials:
        kept = before[trial.strategy, trial.condition]
        np.testing.assert_array_equal(trial.latency_s[: len(kept)], kept)
        assert len(trial.latency_s) >= 8, trial.strategy.id


def rows(folder, table):
    path = folder / "tierwise.db"
    if not path.exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.OperationalError:
        return 0


def test_killed_in_the_profile_and_in_a_round_it_goes_on_with_what_was_decided(
    chosen, tmp_path, tierwise
):
    out = tmp_path / "out"
    rounds = []
    for table, count in (("profile_blocks", 4), ("rounds", 1), ("blocks", 5)):
        process = tierwise("run", chosen, "-o", out)
        deadline = time.monotonic() + 90
        while rows(out, table) < count:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.wait()
        rounds.append(read_results(out).rounds)
    process = tierwise("run", chosen, "-o", out)
    _, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    results = check(out)
    for decided in rounds[1:]:
        for condition, of in decided.items():
            assert results.rounds[condition][: len(of)] == of
