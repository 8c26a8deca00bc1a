"""What a verdict costs: the study's grid, against measuring what prediction leaves open.

The study (arXiv 2403.17154) sends 600 requests to each of 18 strategies under 36 pairs of
bandwidths. ``python benchmarks/cost.py`` runs the demo's classifier, 18 strategies, under
four of such pairs twice: everything, and as ``tierwise run`` chooses. Verdicts are compared where
everything was measured; the cost of 36 pairs follows from what was measured: the study's from the
latency model's medians times 600, ours from the requests of the four pairs times nine, profile and
warm-up included. ``python benchmarks/cost.py ALL CHOSEN`` takes two studies that are there.
"""

import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import yaml

from tierwise.predict.fit import fit_latency_model
from tierwise.recommend.verdict import recommend
from tierwise.store.read import read_results
from tierwise.store.results import StudyResults, TrialState
from tierwise.study.run import run_study
from tierwise.tiers.topology import LinkShape, NetworkCondition
from tierwise.zoo.subjects import materialise

REQUESTS, PAIRS = 600, [float(rate) * 1e6 for rate in (1, 10, 50, 100, 150, 200)]
# Warm-up of a run's blocks: at least 5 requests of each trial, and 3 in the profile.
WARM_UP, PROFILE_WARM_UP = 5, 3
NEAR, AIM = 1.03, 50.0


def study_file(folder: Path) -> tuple[Path, dict]:
    path = materialise("classification", folder / "subject")
    study = yaml.safe_load(path.read_text("utf-8"))
    study["links"]["mobile-edge"]["bandwidth"] = ["10Mbit", "100Mbit"]
    study["links"]["edge-cloud"]["bandwidth"] = ["1Mbit", "50Mbit"]
    study["operators"] = ["I", "Q", "E", "P", "QP", "EP"]
    study["require"] = {"max_loss": 1.0}
    return path, study


def measured(folder: Path, name: str, measure: dict) -> StudyResults:
    path, study = study_file(folder)
    path = path.with_name(f"{name}.yaml")
    path.write_text(yaml.safe_dump({**study, "measure": measure}, sort_keys=False), "utf-8")
    return run_study(path, folder / name)


def main(folders: list[Path]) -> int:
    if folders:
        every, chosen = (read_results(folder) for folder in folders)
        return report(every, chosen)
    with tempfile.TemporaryDirectory(prefix="tierwise-") as temporary:
        folder = Path(temporary)
        chosen = measured(folder, "chosen", {"samples": 30})
        every = measured(folder, "all", {"samples": 15, "strategies": "all"})
        return report(every, chosen)


def grid_s(every: StudyResults) -> float:
    """Request-seconds of the study's whole grid, by the model that everything was fitted to."""
    near, far = (link.name for link in every.topology.links)
    rtt_s = {name: every.conditions[0].shapes[name].rtt_s for name in (near, far)}
    conditions = [
        NetworkCondition({near: LinkShape(a, rtt_s[near]), far: LinkShape(b, rtt_s[far])})
        for a, b in product(PAIRS, PAIRS)
    ]
    return REQUESTS * float(np.nansum(fit_latency_model(every).predict(conditions).median_s))


def chosen_s(chosen: StudyResults) -> tuple[float, float]:
    """Request-seconds of the profile, and of one condition on average."""
    profile_s = sum(
        float(np.mean(t.latency_s)) * (len(t.latency_s) + PROFILE_WARM_UP) for t in chosen.profile
    )
    sent_s = sum(
        float(np.mean(t.latency_s)) * (len(t.latency_s) + WARM_UP)
        for t in chosen.trials
        if t.state is TrialState.MEASURED
    )
    return profile_s, sent_s / len(chosen.conditions)


def report(every: StudyResults, chosen: StudyResults) -> int:
    count = len({t.strategy for t in every.trials if t.state is TrialState.MEASURED})
    true_s = {(t.strategy.id, t.condition): float(np.median(t.latency_s)) for t in every.trials
              if len(t.latency_s)}  # fmt: skip
    same, near = 0, 0
    for a, b in zip(recommend(every).verdicts, recommend(chosen).verdicts, strict=True):
        ours, theirs = b.recommended, a.recommended
        ratio = true_s[ours, a.condition] / true_s[theirs, a.condition]
        tied = {one.id for one in a.strategies if one.tied_with_best}
        same += ours == theirs
        near += ours in tied or ratio <= NEAR
        trials = sum(one.measured for one in b.strategies)
        print(
            f"{a.condition.id}: all {theirs}, chosen {ours} ({trials} measured), "
            f"{ratio - 1:+.1%} there{', tied' if ours in tied else ''}"
        )
    profile_s, condition_s = chosen_s(chosen)
    whole_s, ours_s = grid_s(every), profile_s + condition_s * len(PAIRS) ** 2
    cheaper = whole_s / ours_s
    print(
        f"{count} strategies x {len(PAIRS) ** 2} pairs x {REQUESTS} requests: {whole_s:,.0f} "
        f"request-seconds; chosen: {ours_s:,.0f} (profile {profile_s:.0f}, "
        f"{condition_s:.0f} a pair): {cheaper:.0f} times fewer"
    )
    total = len(chosen.conditions)
    print(f"same verdict {same} of {total}; the same, tied or within 3%: {near} of {total}")
    return 0 if cheaper >= AIM and near == total else 1


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:3]]))
