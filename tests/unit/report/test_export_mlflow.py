"""With the real library and its own local store; it is in the extra `dev`."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from tierwise.errors import MissingExtra
from tierwise.operators.strategy import Operator
from tierwise.report.export import export
from tierwise.report.export_mlflow import trial_runs
from tierwise.testing.results import made_up_results

RESULTS = made_up_results(blocks=7, operators=(Operator.I, Operator.P), does_not_fit=["mobile/I"])


@pytest.fixture
def mlflow_client(monkeypatch, recwarn):
    """Opens a store; MLflow's own warnings are not ours."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    tracking = pytest.importorskip(
        "mlflow.tracking", reason="the extra 'mlflow' is not installed", exc_type=ImportError
    )

    def open_store(path):
        return tracking.MlflowClient(f"sqlite:///{path}")

    return open_store


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_every_trial_is_a_run_and_exported_again_nothing_is_there_twice(mlflow_client, tmp_path):
    (database,) = export(RESULTS, tmp_path / "out", "mlflow")
    client = mlflow_client(database)
    experiment = client.get_experiment_by_name(RESULTS.name)

    def runs():
        found = client.search_runs([experiment.experiment_id])
        return {run.info.run_name: run for run in found}, len(found)

    named, count = runs()
    assert count == len(RESULTS.trials) + 1
    trial = next(t for t in RESULTS.trials if t.strategy.id == "mobile-edge/P@relu_9")
    run = named[trial.strategy.id]
    assert run.data.params == {
        "operator": "P", "variant": "I", "tiers": "mobile-edge", "cut": "relu_9",
        "condition": trial.condition.id,
    }  # fmt: skip
    assert run.data.metrics["p50_s"] == np.median(trial.latency_s)
    assert "p95_s" not in run.data.metrics, "7 samples do not back it"
    assert run.data.metrics["memory_bytes.mobile"] == trial.memory_bytes["mobile"]
    assert run.data.metrics["wire_bytes.mobile-edge"] == trial.wire_bytes["mobile-edge"]
    assert run.data.metrics["cold_start_s"] == pytest.approx(trial.cold_start.total_s)
    assert run.info.status == "FINISHED"
    unfit = named["mobile/I"]
    assert unfit.data.tags["tierwise.state"] == "does not fit"
    assert "p50_s" not in unfit.data.metrics
    study = named[f"{RESULTS.name}: study"]
    assert run.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert [file.path for file in client.list_artifacts(study.info.run_id)] == ["report.html"]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["samples.csv"]

    before = {name: run.info.run_id for name, run in named.items()}
    export(RESULTS, tmp_path / "out", "mlflow")
    again, count = runs()
    assert {name: run.info.run_id for name, run in again.items()} == before
    assert count == len(before)

    slower = replace(trial, latency_s=2 * trial.latency_s)
    changed = [slower if one is trial else one for one in RESULTS.trials]
    export(replace(RESULTS, trials=tuple(changed)), tmp_path / "out", "mlflow")
    after, count = runs()
    assert count == len(before), "replaced, not added"
    assert after[trial.strategy.id].data.metrics["p50_s"] == np.median(slower.latency_s)
    assert after["edge/I"].info.run_id == before["edge/I"]


def test_how_a_trial_was_measured_goes_with_it():
    results = made_up_results(blocks=20, predicted=["cloud/Q"])
    runs = {run.name: run for run in trial_runs(results)}
    measured, predicted = runs["edge/I"], runs["cloud/Q"]
    assert (measured.metrics["blocks"], measured.metrics["disturbed_blocks"]) == (20, 2)
    assert measured.metrics["energy_j"] > 0
    assert measured.tags["tierwise.stopped"] == "all that the study asks for are measured"
    assert "late_share" not in measured.metrics
    assert "blocks" not in predicted.metrics
    assert predicted.tags["tierwise.stopped"] == ""


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tierwise\[mlflow\]'"):
        export(RESULTS, tmp_path / "out", "mlflow")
    assert not list(tmp_path.iterdir())
