"""What a verdict costs: the study's grid, against measuring what prediction leaves open.

The study (arXiv 2403.17154) sends 600 requests to each of 18 strategies under 36 pairs of
bandwidths. ``python benchmarks/cost.py`` builds 18 strategies of the demo's classifier once, and
measures the same ones in two studies: under all 36 pairs as ``tierwise run`` chooses, and all of
them under six of the pairs, where the verdicts are compared.

The study's way costs 600 times the medians: those of the six pairs are measured, the others come
from a latency model that is fitted to them; what the model says of each of the six when it is not
given that pair is printed beside it. Ours is the time of every request that was sent: for profile,
cold starts, warm-up and blocks, and once more for what an interrupted part had to do again. Neither
counts building the variants.

The studies are in ``.cache/cost``, or in the folder that is named: an interrupted benchmark goes on
there. ``--for 160`` ends after so many seconds with exit code 3; the same command goes on.
``--fresh`` starts over. Exit code 1: fewer than 50 times cheaper, or another verdict.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import yaml

from tierwise.cli.terminal import terminal
from tierwise.operators.strategy import Strategy
from tierwise.predict.fit import fit_latency_model
from tierwise.recommend.verdict import recommend
from tierwise.store.read import read_results
from tierwise.store.results import StudyResults, TrialResult, TrialState
from tierwise.store.write import StudyStore
from tierwise.study.deployment import Deployment
from tierwise.study.parse import read_study_file
from tierwise.study.rounds import measured_aim, measured_key
from tierwise.study.run import run_study
from tierwise.tiers.topology import NetworkCondition
from tierwise.zoo.subjects import materialise

FOLDER = Path(__file__).parents[1] / ".cache" / "cost"
LINKS = ("mobile-edge", "edge-cloud")
REQUESTS, RATES = 600, ("1Mbit", "10Mbit", "50Mbit", "100Mbit", "150Mbit", "200Mbit")
PAIRS = tuple(product(RATES, RATES))
# Ends of the range, so that little is extrapolated, and the middle, where choices change.
WHOLE = tuple(product(("1Mbit", "10Mbit", "200Mbit"), ("1Mbit", "50Mbit")))
WAYS: Mapping[str, tuple[dict, tuple[tuple[str, str], ...]]] = {
    "chosen": ({"samples": 30}, PAIRS),
    "whole": ({"samples": 15, "strategies": "all"}, WHOLE),
}
NEAR, AIM, UNFINISHED = 1.03, 50.0, 3


def study_file(folder: Path, name: str, measure: dict) -> Path:
    path = folder / "subject" / "study.yaml"
    if not path.exists():
        path = materialise("classification", folder / "subject")
    study = yaml.safe_load(path.read_text("utf-8"))
    for link in LINKS:
        study["links"][link]["bandwidth"] = list(RATES)
    study |= {"operators": ["I", "Q", "E", "P", "QP", "EP"], "measure": measure}
    study["require"] = {"max_loss": 1.0}
    path = path.with_name(f"{name}.yaml")
    path.write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    return path


def settle(folder: Path, path: Path, pairs: tuple[tuple[str, str], ...]) -> None:
    """Have a run of the study file ``path`` in ``folder`` measure ``pairs`` and no others."""
    aim = measured_aim(read_study_file(path))
    with StudyStore.open(folder) as store:
        store.set_facts(
            {measured_key(n): "" if pair in pairs else aim for n, pair in enumerate(PAIRS)}
        )


def prepared(folder: Path) -> Path:
    """Variants, cuts and encodings, which both studies share, and nothing measured."""
    path, planned = study_file(folder, "planned", {}), folder / "planned"
    settle(planned, path, ())
    run_study(path, planned, progress=terminal)
    return planned


def measured(folder: Path, name: str) -> StudyResults:
    """Run, or go on with, the study ``name``."""
    measure, pairs = WAYS[name]
    path, study = study_file(folder, name, measure), folder / name
    if not study.exists():
        copied = folder / f"{name}.part"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(prepared(folder), copied)
        settle(copied, path, pairs)
        copied.rename(study)
    with counted(folder / f"{name}.sent.json"):
        run_study(path, study, progress=terminal)
    return read_results(study)


@contextmanager
def counted(path: Path) -> Iterator[None]:
    """Add the number and seconds of all requests that are sent meanwhile to the file ``path``."""
    sent = json.loads(path.read_text()) if path.exists() else {"requests": 0, "seconds": 0.0}
    original = Deployment.send

    def send(self: Deployment, strategy: Strategy, payload: object) -> object:
        started_s = time.perf_counter()
        try:
            return original(self, strategy, payload)
        finally:
            sent["requests"] += 1
            sent["seconds"] += time.perf_counter() - started_s

    Deployment.send = send
    try:
        yield
    finally:
        Deployment.send = original
        path.write_text(json.dumps(sent))


class Grid:
    """What the study's way takes, by what was measured of all strategies."""

    def __init__(self, whole: StudyResults) -> None:
        self.whole = whole
        self.median_s = {
            (trial.strategy.id, trial.condition): float(np.median(trial.latency_s))
            for trial in whole.trials
            if trial.state is TrialState.MEASURED
        }
        self.pairs = list(dict.fromkeys(condition for _, condition in self.median_s))

    def measured_s(self, pair: NetworkCondition) -> float:
        return REQUESTS * sum(s for (_, there), s in self.median_s.items() if there == pair)

    def predicted_s(self, pair: NetworkCondition) -> float:
        """The same by the model that was given everything but ``pair``."""

        def hidden(trial: TrialResult) -> TrialResult:
            if trial.condition != pair:
                return trial
            return TrialResult(trial.strategy, trial.condition, TrialState.PENDING)

        without = replace(self.whole, trials=tuple(map(hidden, self.whole.trials)))
        return REQUESTS * float(np.nansum(fit_latency_model(without).predict([pair]).median_s))

    def total_s(self) -> tuple[float, float]:
        """Request-seconds under the measured pairs, and under the others."""
        others = [one for one in self.whole.conditions if one not in self.pairs]
        predicted_s = fit_latency_model(self.whole).predict(others).median_s
        if np.isnan(predicted_s).any():
            raise AssertionError("A strategy of which everything was measured is not predicted.")
        return sum(map(self.measured_s, self.pairs)), REQUESTS * float(predicted_s.sum())


def verdicts(grid: Grid, chosen: StudyResults) -> bool:
    """Print both verdicts under every pair that was measured whole; whether they say the same."""
    ours = {verdict.condition: verdict for verdict in recommend(chosen).verdicts}
    same = near = 0
    asked = replace(grid.whole, conditions=tuple(grid.pairs))
    for verdict in recommend(asked).verdicts:
        theirs, choice = verdict.recommended, ours[verdict.condition].recommended
        if theirs is None or choice is None:
            raise AssertionError("The model as it is loses nothing, so something is recommended.")
        tied = {one.id for one in verdict.strategies if one.tied_with_best}
        ratio = grid.median_s[choice, verdict.condition] / grid.median_s[theirs, verdict.condition]
        same += choice == theirs
        near += choice in tied or ratio <= NEAR
        measured_here = sum(one.measured for one in ours[verdict.condition].strategies)
        print(
            f"{verdict.condition.id}: all {theirs}, chosen {choice} ({measured_here} measured), "
            f"{ratio - 1:+.1%} there{', tied' if choice in tied else ''}; the grid's seconds "
            f"{grid.measured_s(verdict.condition):,.0f}, predicted without this pair "
            f"{grid.predicted_s(verdict.condition):,.0f}"
        )
    count = len(grid.pairs)
    print(f"same verdict {same} of {count}; the same, tied or within 3%: {near} of {count}")
    return near == count


def report(whole: StudyResults, chosen: StudyResults, sent: Mapping[str, float]) -> bool:
    grid = Grid(whole)
    agree = verdicts(grid, chosen)
    known_s, other_s = grid.total_s()
    strategies = len({trial.strategy for trial in whole.trials})
    cheaper = (known_s + other_s) / sent["seconds"]
    print(
        f"{strategies} strategies x {len(PAIRS)} pairs x {REQUESTS} requests: "
        f"{known_s + other_s:,.0f} request-seconds ({known_s:,.0f} by medians measured here, "
        f"{other_s:,.0f} by predicted ones);\nas chosen {sent['requests']:,} requests, "
        f"{sent['seconds']:,.0f} s: {cheaper:.0f} times fewer (aim {AIM:.0f})"
    )
    return agree and cheaper >= AIM


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--for", type=float, dest="seconds", metavar="SECONDS")
    parser.add_argument("--fresh", action="store_true")
    asked = parser.parse_args()
    if asked.fresh and (asked.folder / "planned").exists():
        shutil.rmtree(asked.folder)
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.seconds is not None:
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, asked.seconds)
    try:
        found = {name: measured(asked.folder, name) for name in WAYS}
    except KeyboardInterrupt:
        print(f"Not finished; the same command goes on in {asked.folder}.")
        return UNFINISHED
    signal.setitimer(signal.ITIMER_REAL, 0)
    sent = json.loads((asked.folder / "chosen.sent.json").read_text())
    return 0 if report(found["whole"], found["chosen"], sent) else 1


if __name__ == "__main__":
    sys.exit(main())
