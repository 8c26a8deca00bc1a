import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import pytest

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.errors import DiskFull, NotAStudyError, UserError
from tierwise.measure.machine import MachineState
from tierwise.measure.outcome import MeasureOutcome, StopReason
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.sample import Block, Failure, Sample
from tierwise.measure.warm_up import WarmUp
from tierwise.operators.strategy import Operator, Strategy
from tierwise.quality.figure import QualityFigure
from tierwise.store.artefacts import Artefacts
from tierwise.store.database import FILE_NAME, FORMAT, create_or_open
from tierwise.store.read import read_results
from tierwise.store.results import ProbeFigure, TrialState, VariantRecord
from tierwise.store.trials import PlannedTrial
from tierwise.store.write import StudyStore
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, TlsFiles, Topology

TOPOLOGY = Topology((Tier("mobile", cpus=0.5, memory_bytes=2**29), Tier("cloud", token="secret")))
SLOW = NetworkCondition({"mobile-cloud": LinkShape(1e6, 0.02)})
FAST = NetworkCondition({"mobile-cloud": LinkShape(1e7, 0.02)})
IDENTITY = Strategy(Operator.I, "I", ("cloud",))
SPLIT = Strategy(Operator.QP, "Q", ("mobile", "cloud"), ("relu_3",))


def block(index, *strategies, input_index=0):
    samples = [
        Sample(
            trial=strategy.id,
            block=index,
            input_index=input_index,
            latency_s=0.25 * (1 + place),
            parts_s={"compute@cloud": 0.25 * (1 + place)},
            wire_bytes={"mobile-cloud": 1234},
            started_at_s=index + place / 10,
        )
        for place, strategy in enumerate(strategies)
    ]
    return Block(
        index=index,
        input_index=input_index,
        order=tuple(strategy.id for strategy in strategies),
        samples=tuple(samples),
        failures=(Failure("x", index, 1, "the agent died"),),
        started_at_s=float(index),
        duration_s=0.5,
        machine=MachineState(steal=0.01),
    )


def filled(folder):
    store = StudyStore.open(folder)
    store.set_study(
        name="a study",
        model="model.onnx",
        task="classification",
        topology=TOPOLOGY,
        conditions=[SLOW, FAST],
        requirement={"latency": "p95=80ms"},
        facts={"sha256": "ab"},
    )
    store.set_trials(
        [PlannedTrial(s, c) for c in (SLOW, FAST) for s in (IDENTITY, SPLIT)],
    )
    return store


def test_what_is_written_is_what_is_read(tmp_path):
    with filled(tmp_path / "s") as store:
        store.add_variant(VariantRecord("I", "ab" * 32, 10, 20, ("a note",)))
        figure = QualityFigure("top-1", 90.0, 0.0, 4, True, np.array([1, 1, 0, 1.0]), {"top-5": 99})
        warning = ResultWarning(WarningKind.FEW_INPUTS, "", "4 inputs", "Add more.")
        store.add_quality("I", figure, [warning])
        store.add_block(SLOW, block(0, IDENTITY, SPLIT, input_index=2))
        store.add_block(SLOW, block(1, IDENTITY, input_index=1))
        store.finish_trial(IDENTITY, SLOW, TrialState.MEASURED, reason="fine")
        store.set_memory(IDENTITY, {"mobile": 3, "cloud": 5})
        store.add_probes([ProbeFigure("mobile", "cpu factor", 0.5, 0.49, "cgroup v1")])
        store.set_environment({"cpu": "one"})
        inside = store.results()
    results = read_results(tmp_path / "s")
    assert results.name == inside.name == "a study"
    assert results.conditions == (SLOW, FAST)
    assert results.requirement == {"latency": "p95=80ms"}
    assert results.topology.tiers[0] == TOPOLOGY.tiers[0]
    assert results.variants["I"].notes == ("a note",)
    np.testing.assert_array_equal(results.quality["I"].per_input, figure.per_input)
    assert results.quality["I"].more == {"top-5": 99}
    assert results.warnings == (warning,)
    assert results.probes[0].achieved == 0.49
    assert results.environment == {"cpu": "one"}
    trial = results.trials[0]
    assert (trial.strategy, trial.condition) == (IDENTITY, SLOW)
    assert (trial.state, trial.reason) == (TrialState.MEASURED, "fine")
    assert trial.latency_s.tolist() == [0.25, 0.25]
    assert trial.block.tolist() == [0, 1]
    assert trial.input_index.tolist() == [2, 1]
    assert trial.parts_s["compute@cloud"].tolist() == [0.25, 0.25]
    assert trial.wire_bytes == {"mobile-cloud": 1234}
    assert trial.memory_bytes == {"mobile": 3, "cloud": 5}
    assert results.trials[1].strategy == SPLIT
    assert results.trials[3].condition == FAST


def test_every_request_of_a_burst_is_kept(tmp_path):
    burst = block(0, IDENTITY, SPLIT, IDENTITY, IDENTITY)
    with filled(tmp_path / "s") as store:
        store.add_block(SLOW, burst)
        store.add_profile_block(burst)
        assert store.blocks(SLOW) == store.profile_blocks() == (burst,)
    trial = read_results(tmp_path / "s").trials[0]
    assert trial.latency_s.tolist() == [0.25, 0.75, 1.0]


def test_how_a_condition_was_measured_is_read_with_its_plan_and_its_disturbed_blocks(tmp_path):
    plan = MeasurePlan(min_blocks=2, max_blocks=3, budget_s=60.0)
    with filled(tmp_path) as store:
        for index, steal in enumerate((0.0, 0.3, 0.0)):
            one = block(index, IDENTITY, SPLIT)
            store.add_block(SLOW, replace(one, machine=MachineState(steal=steal)))
        unfinished = store.results().measured[SLOW]
        outcome = MeasureOutcome(
            StopReason.BUDGET, 3, WarmUp(requests=9, unsettled=("cloud/I",)), {}, {}, 6, 3, 0, 61.0
        )
        store.set_outcome(0, plan, outcome)
    assert (unfinished.stopped, len(unfinished.blocks)) == ("", 3)
    measured = read_results(tmp_path).measured
    assert list(measured) == [SLOW]
    told = measured[SLOW]
    assert told.stopped == "the time budget is spent"
    assert MeasurePlan(**told.plan) == plan
    assert (told.requests, told.failures, told.warm_up_requests) == (6, 3, 9)
    assert told.unsettled == ("cloud/I",)
    assert [one.number for one in told.disturbed] == [1]
    assert "stolen" in told.disturbed[0].disturbances[0]
    assert told.late_share is None


def test_the_share_of_late_sends_is_told_under_arrivals_only(tmp_path):
    one = block(0, IDENTITY, SPLIT)
    late = replace(one, samples=(one.samples[0], replace(one.samples[1], late=True)))
    with filled(tmp_path) as store:
        store.add_block(SLOW, late)
        outcome = MeasureOutcome(StopReason.MOST_BLOCKS, 1, WarmUp(), {}, {}, 2, 0, 1, 1.0)
        store.set_outcome(0, MeasurePlan(arrivals_per_s=5.0), outcome)
    assert read_results(tmp_path).measured[SLOW].late_share == 0.5


def test_a_block_cannot_be_there_twice_and_a_refused_one_leaves_nothing(tmp_path):
    with filled(tmp_path) as store:
        store.add_block(SLOW, block(0, IDENTITY))
        with pytest.raises(sqlite3.IntegrityError):
            store.add_block(SLOW, block(0, SPLIT))
        assert [trial.latency_s.size for trial in store.results().trials] == [1, 0, 0, 0]


def test_a_block_is_one_transaction_all_of_it_or_nothing(tmp_path):
    with filled(tmp_path) as store:
        unplanned = Strategy(Operator.Q, "Q", ("cloud",))
        with pytest.raises(sqlite3.IntegrityError):
            store.add_block(SLOW, block(0, IDENTITY, SPLIT, unplanned))
        assert store.blocks(SLOW) == ()
        assert all(trial.latency_s.size == 0 for trial in store.results().trials)


def test_what_is_committed_is_on_the_disk_and_readers_do_not_wait(tmp_path):
    with filled(tmp_path), closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with closing(create_or_open(tmp_path)) as ours:
        assert ours.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        versions = [row[0] for row in ours.execute("SELECT version FROM format_history")]
    assert versions == list(range(1, FORMAT + 1))


def test_a_token_is_never_stored(tmp_path):
    filled(tmp_path).close()
    assert b"secret" not in (tmp_path / FILE_NAME).read_bytes()


def test_a_link_to_a_real_machine_is_known_by_its_tiers(tmp_path):
    """So that studies of before say it too: no shape in the database says what is real."""
    plain = {"mobile-edge": LinkShape(1e6), "edge-cloud": LinkShape()}
    tiers = (Tier("mobile"), Tier("edge"), Tier("cloud", url="https://c", tls=TlsFiles(tmp_path)))
    with StudyStore.open(tmp_path) as store:
        store.set_study(
            name="", model="", task="any", topology=Topology(tiers),
            conditions=[Topology(tiers).condition(plain)], requirement={}, facts={},
        )  # fmt: skip
        assert store.results().conditions[0].id == "mobile-edge=1 Mbit/s; edge-cloud=real network"
    assert b'"real"' not in (tmp_path / FILE_NAME).read_bytes()
    assert NetworkCondition(plain).id == "mobile-edge=1 Mbit/s; edge-cloud=unlimited"


def test_two_runs_in_one_directory_are_refused_with_the_holders_process(tmp_path):
    with filled(tmp_path), pytest.raises(UserError, match=rf"process {os.getpid()}.*working in"):
        StudyStore.open(tmp_path)
    StudyStore.open(tmp_path).close()


def test_the_lock_dies_with_its_process(tmp_path):
    script = (
        "import sys, os, signal; from pathlib import Path;"
        "from tierwise.store.write import StudyStore;"
        "store = StudyStore.open(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    StudyStore.open(tmp_path).close()


def test_reading_works_while_a_run_writes(tmp_path):
    with filled(tmp_path) as store:
        store.add_block(SLOW, block(0, IDENTITY))
        assert read_results(tmp_path).trials[0].latency_s.size == 1


@pytest.mark.parametrize("content", [b"not a database at all, but long enough " * 40, b"short"])
def test_a_damaged_database_is_a_clear_error(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(NotAStudyError, match="not a Tierwise database"):
        read_results(tmp_path)


def test_a_folder_without_a_study_is_a_clear_error(tmp_path):
    with pytest.raises(NotAStudyError, match="not a study directory"):
        read_results(tmp_path)


def test_an_unplanned_study_is_a_clear_error(tmp_path):
    StudyStore.open(tmp_path).close()
    with pytest.raises(NotAStudyError, match="before its plan was made"):
        read_results(tmp_path)


def test_a_newer_format_is_a_clear_error(tmp_path):
    filled(tmp_path).close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    with pytest.raises(NotAStudyError, match=f"has format {FORMAT + 1}"):
        read_results(tmp_path)
    with pytest.raises(NotAStudyError, match="pip install -U tierwise"):
        StudyStore.open(tmp_path)


def test_a_warning_of_a_newer_version_is_a_clear_error(tmp_path):
    filled(tmp_path).close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("INSERT INTO warnings VALUES ('sunspots', 'edge', 'eleven years', '')")
    connection.commit()
    connection.close()
    with pytest.raises(NotAStudyError, match=r"does not know: 'sunspots'.*pip install -U"):
        read_results(tmp_path)


def test_a_directory_that_cannot_be_swept_is_free_for_the_next_run(tmp_path):
    with StudyStore.open(tmp_path) as store:
        half = store.artefacts.folder / ".half.part"
    half.mkdir(parents=True)
    with pytest.raises(OSError, match=r"\.half\.part"):
        StudyStore.open(tmp_path)
    half.rmdir()
    StudyStore.open(tmp_path).close()


def test_a_file_in_place_of_the_directory_is_called_one(tmp_path):
    (tmp_path / "study.yaml").write_text("model: model.onnx")
    with pytest.raises(NotAStudyError, match=r"study\.yaml is a file"):
        StudyStore.open(tmp_path / "study.yaml", fresh=True)
    assert (tmp_path / "study.yaml").read_text()


def test_somebody_elses_folder_is_left_alone_also_with_fresh(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(NotAStudyError, match=r"thesis\.tex"):
        StudyStore.open(tmp_path, fresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_fresh_starts_over(tmp_path):
    with filled(tmp_path) as store:
        store.artefacts.put(b"old")
    with StudyStore.open(tmp_path, fresh=True) as store:
        assert store.fact("name") is None
        assert not store.artefacts.folder.exists()


def test_artefacts_are_named_by_content_and_verified(tmp_path):
    artefacts = Artefacts(tmp_path / "a")
    sha256 = artefacts.put(b"model")
    assert artefacts.put(b"model") == sha256
    assert artefacts.verify(sha256).read_bytes() == b"model"
    artefacts.path(sha256).write_bytes(b"other")
    with pytest.raises(NotAStudyError, match="was changed"):
        artefacts.verify(sha256)
    with pytest.raises(NotAStudyError, match="is missing"):
        artefacts.path("00")


def test_half_written_artefacts_are_swept(tmp_path):
    folder = tmp_path / "artefacts"
    folder.mkdir()
    (folder / ".x.part").write_bytes(b"half")
    StudyStore.open(tmp_path).close()
    assert list(folder.iterdir()) == []


@contextmanager
def file_size_limit(limit):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_the_store_goes_on_afterwards(tmp_path):
    with filled(tmp_path) as store:
        store.add_block(SLOW, block(0, IDENTITY))
        with file_size_limit(1):
            with pytest.raises(DiskFull, match="No space is left"):
                store.add_block(SLOW, block(1, IDENTITY, input_index=1))
            assert store.blocks(SLOW) == (block(0, IDENTITY),)
            with pytest.raises(DiskFull, match=r"\.onnx"):
                store.artefacts.put(b"x" * 100)
        assert list(store.artefacts.folder.iterdir()) == []
        store.add_block(SLOW, block(1, IDENTITY, input_index=1))
        assert store.results().trials[0].block.tolist() == [0, 1]
