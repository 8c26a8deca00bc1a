"""What a verdict costs: the study's grid, against measuring what prediction leaves open.

The study (arXiv 2403.17154) sends 600 requests to each of 18 strategies under 36 pairs of
bandwidths. ``python benchmarks/cost.py`` runs the demo's classifier, 18 strategies: under all 36
pairs as ``tierwise run`` chooses, and everything under six of them. Verdicts are compared where
everything was measured. The cost of the study's way is 600 times the medians that a latency model
predicts which is fitted to all that was measured; ours is the time of every request that was sent,
for the profile, cold starts, warm-up and blocks.

``python benchmarks/cost.py FOLDER`` keeps the two studies there and, when it was interrupted, goes
on with them; ``--only chosen`` or ``--only all`` stops behind that one.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml

from tierwise.operators.strategy import Strategy
from tierwise.predict.fit import fit_latency_model
from tierwise.recommend.verdict import recommend
from tierwise.store.results import StudyResults
from tierwise.study.deployment import Deployment
from tierwise.study.run import run_study
from tierwise.zoo.subjects import materialise

REQUESTS, RATES = 600, ("1Mbit", "10Mbit", "50Mbit", "100Mbit", "150Mbit", "200Mbit")
EVERY = ("10Mbit", "100Mbit"), ("1Mbit", "50Mbit", "200Mbit")
NEAR, AIM = 1.03, 50.0


def measured(
    folder: Path, name: str, rates: tuple[tuple[str, ...], ...], how: dict
) -> StudyResults:
    """Run, or go on with, the study ``name`` of the demo's classifier."""
    path = folder / "subject" / "study.yaml"
    if not path.exists():
        path = materialise("classification", folder / "subject")
    study = yaml.safe_load(path.read_text("utf-8"))
    for link, of in zip(("mobile-edge", "edge-cloud"), rates, strict=True):
        study["links"][link]["bandwidth"] = list(of)
    study |= {"operators": ["I", "Q", "E", "P", "QP", "EP"], "measure": how}
    study["require"] = {"max_loss": 1.0}
    path = path.with_name(f"{name}.yaml")
    path.write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    with counted(folder / f"{name}.sent.json"):
        return run_study(path, folder / name)


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


def whole_grid_s(every: StudyResults, chosen: StudyResults) -> float:
    """Request-seconds of the study's way, under the pairs of ``chosen``."""
    medians_s = fit_latency_model(every).predict(chosen.conditions).median_s
    return REQUESTS * float(np.nansum(medians_s))


def report(every: StudyResults, chosen: StudyResults, sent: dict) -> bool:
    true_s = {
        (t.strategy.id, t.condition): float(np.median(t.latency_s))
        for t in every.trials
        if len(t.latency_s)
    }
    ours = {verdict.condition: verdict for verdict in recommend(chosen).verdicts}
    same = near = 0
    for verdict in recommend(every).verdicts:
        theirs, choice = verdict.recommended, ours[verdict.condition].recommended
        tied = {one.id for one in verdict.strategies if one.tied_with_best}
        ratio = true_s[choice, verdict.condition] / true_s[theirs, verdict.condition]
        same += choice == theirs
        near += choice in tied or ratio <= NEAR
        measured_here = sum(one.measured for one in ours[verdict.condition].strategies)
        print(
            f"{verdict.condition.id}: all {theirs}, chosen {choice} ({measured_here} measured), "
            f"{ratio - 1:+.1%} there{', tied' if choice in tied else ''}"
        )
    total = len(every.conditions)
    print(f"same verdict {same} of {total}; the same, tied or within 3%: {near} of {total}")
    count, pairs = len({t.strategy for t in chosen.trials}), len(chosen.conditions)
    whole_s = whole_grid_s(every, chosen)
    cheaper = whole_s / sent["seconds"]
    print(
        f"{count} strategies x {pairs} pairs x {REQUESTS} requests: {whole_s:,.0f} request-seconds;"
        f" as chosen {sent['requests']:,} requests, {sent['seconds']:,.0f} s: {cheaper:.0f} times"
        " fewer"
    )
    return near == total and cheaper >= AIM


def run(folder: Path, only: str | None) -> int:
    chosen = every = None
    if only != "all":
        chosen = measured(folder, "chosen", (RATES, RATES), {"samples": 30})
    if only != "chosen":
        every = measured(folder, "all", EVERY, {"samples": 15, "strategies": "all"})
    if chosen is None or every is None:
        return 0
    sent = json.loads((folder / "chosen.sent.json").read_text())
    return 0 if report(every, chosen, sent) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--only", choices=("chosen", "all"))
    asked = parser.parse_args()
    if asked.folder is not None:
        asked.folder.mkdir(parents=True, exist_ok=True)
        return run(asked.folder, asked.only)
    with tempfile.TemporaryDirectory(prefix="tierwise-") as temporary:
        return run(Path(temporary), asked.only)


if __name__ == "__main__":
    sys.exit(main())
