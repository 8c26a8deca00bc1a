"""A study killed with SIGKILL at random moments, again and again, and what is left of it each time.

    python tests/integration/study/killing.py [--kills 100] [--seed N] [--whole]

Without ``--whole`` a process that has everything imported is forked, and the child runs the study
over two real agents on loopback: a life starts in milliseconds, so that hundreds of moments can be
tried, evenly up to what a run takes to its first block. With ``--whole`` every life is a ``tierwise
run`` of its own over emulated tiers, from building I, Q, E, P and EP over the profile and the
rounds of choosing to the report, killed at a moment drawn evenly over the time of a whole run.

Where a study ends before all kills are spent, the next one begins in a new directory. After every
kill: the database opens and is sound, every block is complete, and what an earlier life finished or
decided is there unchanged. At the end of each study: the same trials as an undisturbed run, every
block with the same input and, where all strategies are measured, the same order and samples. (Which
strategies are chosen depends on measured times, so that two undisturbed runs differ in it too.)
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
from collections import Counter
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
        phases: Kills by what the run was at.
        blocks: Blocks that were compared with the undisturbed run's.
        faults: What was not as it must be.
    """

    seed: int
    kills: int = 0
    studies: int = 0
    blocks: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def compare(self, before: dict, after: dict) -> dict:
        """Take in what was stored before a life and after it; gives the latter."""
        if lost := [key for key in before if after.get(key) != before[key]]:
            self.faults.append(f"after kill {self.kills}: {lost} lost or changed")
        return after

    def __str__(self) -> str:
        faults = "; ".join(self.faults) or "none"
        phases = ", ".join(f"{count} {phase}" for phase, count in self.phases.most_common())
        return (
            f"seed {self.seed}: killed {self.kills} times ({phases}); {self.studies} studies ended "
            f"with all trials of an undisturbed run, {self.blocks} blocks each there once; "
            f"faults: {faults}"
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


def whole_study(text: str) -> str:
    """A study that has every stage, and whose plan does not depend on measured times."""
    changes = {
        "[I, Q, E, P, QEP]": "[I, Q, E, P, EP]\n  partition: {cut: 0.5, encode: none}\n"
        "  early_exit: {rule: last-two}",
        "budget: 2s": "recipe: QDQ uint8/int8 per-channel",
        "samples: 6, strategies: all": "samples: 8, max_samples: 32",
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


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


def stored_in(folder: Path) -> dict[tuple, str]:
    """Every finished block and decision in the database; raises where that is not sound.

    By ``(table, condition, number)``: the blocks with all that they hold, the trials of a finished
    plan, and the rounds that were decided.
    """
    path = folder / "tierwise.db"
    if not path.exists():
        return {}
    # For everybody who asks there is an answer, or the reason why there is none yet.
    with suppress(NotAStudyError):
        read_results(folder)
    with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as db:
        db.execute("BEGIN")  # one moment's picture, also while a run is writing
        # Of a run that was killed before its tables were made.
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'rounds'").fetchone():
            return {}
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        found = {}
        for table, condition, samples in (
            ("blocks", "condition", "samples JOIN trials ON trial = trials.id"),
            ("profile_blocks", "-1", "profile_samples"),
        ):
            held: dict[tuple[int, int], list] = {}
            of = f"FROM {samples} ORDER BY started_at_s"
            for row in db.execute(f"SELECT {condition}, block, {samples.split()[0]}.* {of}"):
                held.setdefault(row[:2], []).append(row[2:])
            blocks = db.execute(f"SELECT {condition}, block, record, * FROM {table}").fetchall()
            assert held.keys() <= {row[:2] for row in blocks}, "samples without their block"
            for row in blocks:
                visits = len(json.loads(row[2])["order"])
                assert len(held.get(row[:2], [])) == visits, f"half of {table} {row[:2]}"
                found[table, *row[:2]] = repr((row, held[row[:2]]))
        rounds = db.execute("SELECT condition, round, * FROM rounds").fetchall()
        planned = db.execute("SELECT 1 FROM facts WHERE key = 'done:plan'").fetchone()
        trials = db.execute("SELECT condition, id, strategy, variant, tiers, cuts FROM trials")
        found |= {("trials", *row[:2]): repr(row) for row in trials if planned}
    return found | {("rounds", *row[:2]): repr(row) for row in rounds}


def blocks_of(folder: Path) -> dict[tuple, str]:
    """The finished blocks of :func:`stored_in`."""
    return {key: block for key, block in stored_in(folder).items() if key[0] == "blocks"}


def phase(folder: Path) -> str:
    """What a run was at when it ended, by what it left."""
    path = folder / "tierwise.db"
    if not path.exists():
        return "before the database"
    with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as db:
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'rounds'").fetchone():
            return "before the database"
        facts = {key for (key,) in db.execute("SELECT key FROM facts")}
        conditions, rounds, blocks, profiled = (
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("conditions", "rounds", "blocks", "profile_blocks")
        )
    if "done:plan" not in facts:
        return "building and planning"
    if rounds + blocks == 0 and "done:profile" not in facts:
        return "in the profile" if profiled else "starting tiers"
    if sum(key.startswith("measured:") for key in facts) == conditions > 0:
        return "reporting"
    return "in a condition's blocks" if blocks else "before the first block"


def signature(folder: Path) -> dict:
    """What does not depend on time: trials, and the input and order of every block's samples."""
    results = read_results(folder)
    chosen = bool(results.rounds)
    trials = {
        (t.condition.id, t.strategy.id): None if chosen else (tuple(t.block), tuple(t.input_index))
        for t in results.trials
    }
    # Quantizing keeps fp32 where 8 bits are no faster, which is measured; Q is then left out.
    fine = {TrialState.MEASURED, *([TrialState.PREDICTED, TrialState.LEFT_OUT] if chosen else [])}
    assert {t.state for t in results.trials} <= fine, [t.state for t in results.trials]
    with closing(sqlite3.connect(f"file:{folder / 'tierwise.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT condition, block, input_index, record FROM blocks").fetchall()
    inputs = {(condition, block): index for condition, block, index, _ in rows}
    orders = {
        (condition, block): tuple(json.loads(record)["order"])
        for condition, block, _, record in rows
        if not chosen
    }
    return {"trials": trials, "orders": orders, "inputs": inputs}


def kill_again_and_again(
    study: Path, scratch: Path, *, kills: int, seed: int, run: type[Forked] | type[Whole]
) -> Report:
    """Run ``study`` in directories under ``scratch`` and kill it ``kills`` times."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    report, chance = Report(seed), random.Random(seed)
    expected, most_s = undisturbed(study, scratch / "undisturbed", run)
    while report.kills < kills:
        folder = scratch / f"study-{report.studies}"
        stored: dict[tuple, str] = {}
        ended = False
        while not ended:
            life = run(study, folder)
            # Where the kills are spent, the last life may come to its end.
            patience_s = chance.uniform(0, most_s) if report.kills < kills else 600.0
            ended = life.ended_within(patience_s)
            if not ended:
                life.kill()
                report.kills += 1
                report.phases[phase(folder)] += 1
            stored = report.compare(stored, stored_in(folder))
        if run is Whole:
            assert (folder / "report.html").read_text("utf-8").rstrip().endswith("</html>")
        report.studies += 1
        report.blocks += sum(table.endswith("blocks") for table, *_ in stored)
        report.faults += differences(folder.name, signature(folder), expected)
    return report


def undisturbed(study: Path, folder: Path, run: type[Forked] | type[Whole]) -> tuple[dict, float]:
    """What a run leaves that nobody kills, and within which time to kill the others."""
    started_s = time.monotonic()
    life, most_s = run(study, folder), None
    while not life.ended_within(0.02):
        if run is Forked and most_s is None and blocks_of(folder):
            most_s = time.monotonic() - started_s
    return signature(folder), most_s or time.monotonic() - started_s


def differences(name: str, found: dict, expected: dict) -> list[str]:
    """What a study has that an undisturbed one has not, or the other way round."""
    faults = []
    for part, wanted in expected.items():
        odd = found[part].items() ^ wanted.items()
        if part == "inputs":  # how many blocks a choice takes depends on what it sees
            odd = {key for key, _ in odd} & found[part].keys() & wanted.keys()
        if odd:
            faults.append(f"{name}, not as undisturbed: {part} {sorted(map(str, odd))}")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--whole", action="store_true")
    asked = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tierwise-kill-")))
        from conftest import STUDY, make_subject  # noqa: PLC0415 - beside this script

        study = make_subject(scratch / "subject")
        if asked.whole:
            study.write_text(whole_study(STUDY))
        else:
            start_agents(study, stack)
        started_s = time.monotonic()
        report = kill_again_and_again(
            study,
            scratch,
            kills=asked.kills,
            seed=asked.seed,
            run=Whole if asked.whole else Forked,
        )
    print(f"{report} ({time.monotonic() - started_s:.0f} s)")  # noqa: T201 - a script's answer
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
