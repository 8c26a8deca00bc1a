"""A study in MLflow: a run for every trial, under a run of the study that has the report."""

import csv
import hashlib
import importlib
import io
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tierwise.disk import scratch_folder, write_whole, writing
from tierwise.errors import MissingExtra
from tierwise.recommend.assess import assess
from tierwise.recommend.footprint import energy_of
from tierwise.recommend.recommendation import Assessment
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend
from tierwise.report.write import write_report
from tierwise.store.results import StudyResults

_TRIAL, _CONTENT = "tierwise.trial", "tierwise.content"
_STUDY_RUN = "study"


@dataclass(frozen=True)
class MlflowRun:
    """A run as it is to be: what is logged, and the files that belong to it.

    Attributes:
        key: Which run of the experiment it is; exported again, it is found by this.
        name: What is shown.
        params: What was chosen.
        metrics: What came of it.
        files: Content by file name.
        tags: What to search by.
    """

    key: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    files: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Hash of all of it but the files, which follow from the rest."""
        record = json.dumps([self.name, dict(self.params), dict(self.metrics), dict(self.tags)])
        return hashlib.sha256(record.encode()).hexdigest()


def export_mlflow(results: StudyResults, out: Path) -> tuple[Path, ...]:
    """Log ``results`` to MLflow: to ``MLFLOW_TRACKING_URI``, or else to ``out/mlflow.db``.

    Exported again, a trial that has not changed stays as it is, and one that has is replaced.

    Args:
        results: Of the study; its name is the experiment's.
        out: Holds MLflow's own local store (SQLite, and a folder of artefacts).

    Returns:
        The database, or nothing where the runs went to a server.

    Raises:
        MissingExtra: MLflow is not installed.
        DiskFull: no space is left.
    """
    client = _client(out)
    server = os.environ.get("MLFLOW_TRACKING_URI")
    with writing(out):
        experiment = _experiment(client, results.name, out, server)
        known = {
            run.data.tags[_TRIAL]: run
            for run in client.search_runs([experiment], max_results=50_000)
            if _TRIAL in run.data.tags
        }
        study = _log(client, experiment, _study_run(results), known)
        for run in trial_runs(results):
            _log(client, experiment, run, known, {"mlflow.parentRunId": study})
    return () if server else (out / "mlflow.db",)


def trial_runs(results: StudyResults) -> tuple[MlflowRun, ...]:
    """A run for every planned trial, measured or not."""
    return tuple(
        _trial_run(results, assessment)
        for condition in results.conditions
        for assessment in assess(results, condition, Requirement())
    )


def _trial_run(results: StudyResults, assessment: Assessment) -> MlflowRun:
    trial, strategy = assessment.trial, assessment.trial.strategy
    latency, quality = assessment.latency, assessment.quality
    params = {
        "operator": strategy.operator.value,
        "variant": strategy.variant,
        "tiers": strategy.placement,
        "cut": " ".join(strategy.cuts),
        "condition": trial.condition.id or "one tier",
    }
    figures: dict[str, float | None] = {
        "energy_j": energy_of(trial),
        "cold_start_s": None if trial.cold_start is None else trial.cold_start.total_s,
        "loss": assessment.loss,
        **{f"memory_bytes.{tier}": size for tier, size in trial.memory_bytes.items()},
        **{f"wire_bytes.{link}": size for link, size in trial.wire_bytes.items()},
    }
    if quality is not None:
        figures[quality.metric] = quality.value
    if latency is not None:
        # A predicted latency never stands under the name of a measured one.
        before = "" if latency.measured else "predicted_"
        figures |= {
            f"{before}p50_s": latency.p50_s,
            f"{before}p50_low_s": latency.low_s,
            f"{before}p50_high_s": latency.high_s,
            "p95_s": latency.p95_s,
            "samples": latency.n,
        }
    measured = results.measured.get(trial.condition) if assessment.measured else None
    if measured is not None:
        figures |= {
            "blocks": len(measured.blocks),
            "disturbed_blocks": len(measured.disturbed),
            "late_share": measured.late_share,
        }
    return MlflowRun(
        key=f"{strategy.id} under {trial.condition.id}",
        name=strategy.id,
        params=params,
        metrics={name: float(value) for name, value in figures.items() if value is not None},
        files={"samples.csv": _samples(assessment)} if trial.latency_s.size else {},
        tags={
            "tierwise.state": trial.state.value,
            "tierwise.reason": trial.reason or assessment.unsuited,
            "tierwise.stopped": "" if measured is None else measured.stopped,
            "tierwise.model": results.model,
        },
    )


def _study_run(results: StudyResults) -> MlflowRun:
    recommendation = recommend(results, Requirement.from_mapping(results.requirement))
    with scratch_folder() as folder:
        report, *_ = write_report(results, recommendation, folder / "report.html")
        page = report.read_text("utf-8")
    return MlflowRun(
        key=_STUDY_RUN,
        name=f"{results.name}: {_STUDY_RUN}",
        params={"model": results.model, "task": results.task},
        metrics={"trials": len(results.trials), "samples": _count(results)},
        files={"report.html": page},
        tags={"tierwise.verdict": recommendation.verdict[:4000], **_environment(results)},
    )


def _count(results: StudyResults) -> int:
    return sum(trial.latency_s.size for trial in results.trials)


def _environment(results: StudyResults) -> dict[str, str]:
    # MLflow's names of tags hold letters, digits and _ - . space : /.
    return {
        f"tierwise.environment.{label.replace('@', '.')}": value
        for label, value in results.environment.items()
    }


def _samples(assessment: Assessment) -> str:
    trial = assessment.trial
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["block", "input_index", "latency_s"])
    rows.writerows(
        zip(trial.block.tolist(), trial.input_index.tolist(), trial.latency_s.tolist(), strict=True)
    )
    return text.getvalue()


def _client(out: Path) -> Any:
    # MLflow reports its use to its makers unless it is told not to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        tracking = importlib.import_module("mlflow.tracking")
        importlib.import_module("sqlalchemy")
        importlib.import_module("alembic")
    except ImportError as error:
        raise MissingExtra(
            f"Export to MLflow needs {error.name or 'mlflow'}, which is not installed.",
            hint="Install it: pip install 'tierwise[mlflow]'. Or write --to csv.",
            extra="mlflow",
        ) from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server = os.environ.get("MLFLOW_TRACKING_URI")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        return tracking.MlflowClient(server or f"sqlite:///{(out / 'mlflow.db').resolve()}")


def _experiment(client: Any, name: str, out: Path, server: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    where = None if server else (out / "mlflow-artefacts").resolve().as_uri()
    return str(client.create_experiment(name, artifact_location=where))


def _log(
    client: Any,
    experiment: str,
    run: MlflowRun,
    known: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
) -> str:
    """Make ``run`` what it is to be; its id."""
    before = known.get(run.key)
    parent = dict(tags or {})
    if before is not None:
        if before.data.tags.get(_CONTENT) == run.content:
            for name, value in parent.items():
                client.set_tag(before.info.run_id, name, value)
            return str(before.info.run_id)
        client.delete_run(before.info.run_id)
    entities = importlib.import_module("mlflow.entities")
    now_ms = int(time.time() * 1000)
    made = client.create_run(experiment, run_name=run.name, tags={**run.tags, **parent})
    run_id = str(made.info.run_id)
    client.log_batch(
        run_id,
        params=[entities.Param(name, value) for name, value in run.params.items()],
        metrics=[entities.Metric(name, value, now_ms, 0) for name, value in run.metrics.items()],
    )
    with scratch_folder() as folder:
        for name, content in run.files.items():
            client.log_artifact(run_id, str(write_whole(folder / name, content)))
    # Last: a run without them was interrupted, and is not taken for a whole one.
    client.set_tag(run_id, _TRIAL, run.key)
    client.set_tag(run_id, _CONTENT, run.content)
    client.set_terminated(run_id)
    return run_id
