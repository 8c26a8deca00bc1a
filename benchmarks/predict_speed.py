"""How long `tierwise predict` takes for 504 strategies under 36 conditions, fit included.

``python benchmarks/predict_speed.py``: made-up studies (tierwise.testing) with every trial measured
30 times, in memory; and one on disk that was measured as a run chooses (9 of 504 strategies under
each condition, and a profile), asked by the command line, start of Python included.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tierwise.predict.fit import fit_latency_model
from tierwise.store.results import StudyResults, TrialResult, TrialState, unlimited
from tierwise.testing.results import made_up_results
from tierwise.testing.stored_results import store_results

STRATEGIES, CONDITIONS, CHOSEN, MOST_S = 504, 36, 9, 1.0


def many(blocks: int) -> StudyResults:
    """Copies of the made-up study's strategies, as variants of other names."""
    rates = [f"{rate:g}Mbit" for rate in np.geomspace(1, 100, CONDITIONS).round(3)]
    small = made_up_results(edge_cloud=rates, blocks=blocks)
    copies = STRATEGIES // (len(small.trials) // CONDITIONS)
    trials = tuple(
        replace(t, strategy=replace(t.strategy, variant=f"{t.strategy.variant}-{copy}"))
        for t in small.trials
        for copy in range(copies)
    )
    return replace(small, trials=trials)


def chosen(study: StudyResults) -> StudyResults:
    """As a run leaves it: a few trials of every condition measured, and a profile."""
    rng = np.random.default_rng(0)
    strategies = list(dict.fromkeys(t.strategy for t in study.trials))
    first = {t.strategy: t for t in study.trials}
    where = unlimited(study.topology)
    profile = tuple(
        replace(first[s], condition=where, latency_s=sum(at_tiers(first[s]).values()),
                input_index=first[s].input_index[:10], block=first[s].block[:10],
                parts_s=at_tiers(first[s]))
        for s in strategies if not s.cuts
    )  # fmt: skip
    kept = {
        condition: {strategies[i] for i in rng.choice(len(strategies), CHOSEN, replace=False)}
        for condition in study.conditions
    }
    trials = tuple(
        t if t.strategy in kept[t.condition]
        else replace(t, state=TrialState.PREDICTED, latency_s=np.empty(0), block=np.empty(0),
                     input_index=np.empty(0), parts_s={}, wire_bytes={})
        for t in study.trials
    )  # fmt: skip
    return replace(study, trials=trials, profile=profile)


def at_tiers(trial: TrialResult) -> dict[str, np.ndarray]:
    """Ten requests of a trial without the network, as over unlimited links."""
    return {k: v[:10] for k, v in trial.parts_s.items() if not k.startswith("transfer@")}


def main() -> int:
    study = many(30)
    times_s = []
    for _ in range(5):
        started_s = time.perf_counter()
        fit_latency_model(study).predict(study.conditions)
        times_s.append(time.perf_counter() - started_s)
    memory_s = float(np.median(times_s))
    print(f"{len(study.trials)} trials measured, in memory: {memory_s:.2f} s, median of 5")
    with tempfile.TemporaryDirectory(prefix="tierwise-") as folder:
        results = chosen(study)
        store_results(results, Path(folder) / "study")
        times_s = []
        for _ in range(5):
            started_s = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "tierwise", "predict", f"{folder}/study", "--json",
                 "--when", "edge-cloud=25Mbit,rtt=30ms"],
                check=True, capture_output=True,
            )  # fmt: skip
            times_s.append(time.perf_counter() - started_s)
    disk_s = float(np.median(times_s))
    print(
        f"{CHOSEN} of {STRATEGIES} strategies measured under each of {CONDITIONS} conditions, "
        f"on disk, `tierwise predict`: {disk_s:.2f} s, median of 5"
    )
    return 0 if max(memory_s, disk_s) < MOST_S else 1


if __name__ == "__main__":
    sys.exit(main())
