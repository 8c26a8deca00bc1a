"""A study killed with SIGKILL at random moments, again and again, and what is left of it each time.

    python tests/integration/study/killing.py [--kills 100] [--seed N] [--whole]

Without ``--whole`` a process that has everything imported is forked, and the child runs the study
over two real agents on loopback: a life starts in milliseconds, so that hundreds of moments can be
tried. With ``--whole`` every life is a ``tierwise run`` of its own, over emulated tiers.

A life lasts a random time, evenly up to ``--longest`` times what a run takes to its first block.
Where a study ends before all kills are spent, the next one begins in a new directory. After every
kill: the database opens and is sound, every block is complete, and what an earlier life finished is
there unchanged. At the end of each study: the same trials and samples as an undisturbed run.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tierwise.errors import NotAStudyError
from tierwise.store.read import read_results
from tierwise.store.results import TrialState
from tierwise.study.run import run_study


@dataclass
class Report:
    """What the kills met.

    Attributes:
        seed: Of the moments.
        kills: Runs that were killed; one that had ended already is not one.
        studies: Directories that were finished.
        before_any_block: Kills before the first block of their life.
        blocks: Blocks that were compared with the undisturbed run's.
        faults: What was not as it must be.
    """

    seed: int
    kills: int = 0
    studies: int = 0
    before_any_block: int = 0
    blocks: int = 0
    faults: list[str] = field(default_factory=list)

    def compare(self, before: dict, after: dict, *, killed: bool) -> dict:
        """Take in what the blocks were before a life and after it; gives the latter."""
        if lost := [key for key in before if after.get(key) != before[key]]:
            self.faults.append(f"after kill {self.kills}: blocks {lost} lost or changed")
        self.before_any_block += killed and after.keys() == before.keys()
        return after

    def __str__(self) -> str:
        faults = "; ".join(self.faults) or "none"
        return (
            f"seed {self.seed}: killed {self.kills} times, {self.before_any_block} of them before "
            f"their life's first block; {self.studies} studies ended with all trials of an "
            f"undisturbed run, {self.blocks} blocks each there once; faults: {faults}"
        )


def start_agents(study: Path, stack: ExitStack) -> None:
    """Two real agents that outlive every kill, and a study file that names them as tiers."""
    tiers = []
    for tier in ("mobile", "cloud"):
        command = [sys.executable, "-m", "tierwise", "serve", "--tier", tier]
        command += ["--listen", "127.0.0.1:0", "--cache", str(study.parent / f"cache-{tier}")]
        agent = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        stack.callback(agent.stdout.close)
        stack.callback(agent.wait)
        stack.callback(agent.terminate)
        tiers.append(f"  {tier}: {{url: '{json.loads(agent.stdout.readline())['listening']}'}}\n")
    study.write_text(
        "model: model.onnx\ntask: classification\ndata: {npz: data.npz}\n"
        f"tiers:\n{''.join(tiers)}links: {{mobile-cloud: {{}}}}\n"
        "operators: {use: [I, P], partition: {cut: 0.5}}\n"
        "quality: {calibration: 24, evaluation: 40}\n"
        "measure: {strategies: all, samples: 100, max_samples: 100}\n"
    )


class Forked:
    """A run in a child of this process."""

    def __init__(self, study: Path, folder: Path) -> None:
        self.errors = folder.with_suffix(".errors")
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                run_study(study, folder)
                code = 0
            except BaseException:  # noqa: BLE001 - whatever it is, the parent is to read it
                self.errors.write_text(traceback.format_exc())
            finally:
                os._exit(code)

    def ended_within(self, seconds: float) -> bool:
        """Wait for its end, at most so long."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            signal.sigtimedwait([signal.SIGCHLD], left_s)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                assert os.waitstatus_to_exitcode(status) == 0, self.errors.read_text()
                return True
        return False

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Whole:
    """`tierwise run`, with all that it starts."""

    def __init__(self, study: Path, folder: Path) -> None:
        self.errors = folder.with_suffix(".errors")
        command = [sys.executable, "-m", "tierwise", "run", str(study), "-o", str(folder)]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)

    def ended_within(self, seconds: float) -> bool:
        """Wait for its end, at most so long."""
        try:
            assert self.process.wait(seconds) == 0, self.errors.read_text()
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def blocks_of(folder: Path) -> dict[tuple[int, int], str]:
    """Every block in the database with all that it holds; raises where that is not sound."""
    path = folder / "tierwise.db"
    if not path.exists():
        return {}
    # For everybody who asks there is an answer, or the reason why there is none yet.
    with suppress(NotAStudyError):
        read_results(folder)
    with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as db:
        db.execute("BEGIN")  # one moment's picture, also while a run is writing
        # Of a run that was killed before its tables were made.
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'samples'").fetchone():
            return {}
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        found = {(c, b): tuple(rest) for c, b, *rest in db.execute("SELECT * FROM blocks")}
        samples = db.execute(
            "SELECT condition, block, samples.* FROM samples JOIN trials ON trial = trials.id "
            "ORDER BY started_at_s"
        )
        held: dict[tuple[int, int], list] = {}
        for condition, block, *rest in samples:
            held.setdefault((condition, block), []).append(rest)
    assert held.keys() <= found.keys(), "samples without their block"
    for key, (_, record) in found.items():
        assert len(held.get(key, [])) == len(json.loads(record)["order"]), f"half of block {key}"
    return {key: repr((found[key], held[key])) for key in found}


def signature(folder: Path) -> dict:
    """What does not depend on time: trials, and the input and order of every block's samples."""
    results = read_results(folder)
    trials = {
        (t.condition.id, t.strategy.id): (t.state, tuple(t.block), tuple(t.input_index))
        for t in results.trials
    }
    assert {t.state for t in results.trials} == {TrialState.MEASURED}
    with closing(sqlite3.connect(f"file:{folder / 'tierwise.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT condition, block, record FROM blocks").fetchall()
    orders = {
        (condition, block): tuple(json.loads(record)["order"]) for condition, block, record in rows
    }
    return {"trials": trials, "orders": orders}


def kill_again_and_again(
    study: Path, scratch: Path, *, kills: int, seed: int, longest: float, run: type
) -> Report:
    """Run ``study`` in directories under ``scratch`` and kill it ``kills`` times."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    report, chance = Report(seed), random.Random(seed)
    reference = scratch / "undisturbed"
    started_s = time.monotonic()
    life, first_block_s = run(study, reference), None
    while not life.ended_within(0.02):
        if first_block_s is None and blocks_of(reference):
            first_block_s = time.monotonic() - started_s
    expected, most_s = signature(reference), longest * (first_block_s or 1.0)
    while report.kills < kills:
        folder = scratch / f"study-{report.studies}"
        blocks: dict[tuple[int, int], str] = {}
        ended = False
        while not ended:
            life = run(study, folder)
            # Where the kills are spent, the last life may come to its end.
            patience_s = chance.uniform(0, most_s) if report.kills < kills else 600.0
            ended = life.ended_within(patience_s)
            if not ended:
                life.kill()
                report.kills += 1
            blocks = report.compare(blocks, blocks_of(folder), killed=not ended)
        report.studies += 1
        report.blocks += len(blocks)
        report.faults += differences(folder.name, signature(folder), expected)
    return report


def differences(name: str, found: dict, expected: dict) -> list[str]:
    """What a study has that an undisturbed one has not, or the other way round."""
    return [
        f"{name}, not as undisturbed: {part} {sorted(map(str, odd))}"
        for part in expected
        if (odd := dict(found[part].items() ^ expected[part].items()))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--longest", type=float, default=1.0)
    parser.add_argument("--whole", action="store_true")
    asked = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tierwise-kill-")))
        from conftest import STUDY, make_subject  # noqa: PLC0415 - beside this script

        study = make_subject(scratch / "subject")
        if asked.whole:
            study.write_text(STUDY.replace("[I, Q, E, P, QEP]", "[I, P]\n  partition: {cut: 0.5}"))
        else:
            start_agents(study, stack)
        started_s = time.monotonic()
        report = kill_again_and_again(
            study,
            scratch,
            kills=asked.kills,
            seed=asked.seed,
            longest=asked.longest,
            run=Whole if asked.whole else Forked,
        )
    print(f"{report} ({time.monotonic() - started_s:.0f} s)")  # noqa: T201 - a script's answer
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
