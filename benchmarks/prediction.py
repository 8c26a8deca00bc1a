"""How far the latency model is off on what it was not given: strategies, and conditions.

``python benchmarks/prediction.py`` measures 12 strategies of the demo's classifier under 4 x 5
pairs of bandwidths; ``--large`` a wide ResNet-101-2 with random weights (500 MB) under two:
first as a run chooses, which leaves a profile, then all of it.
``python benchmarks/prediction.py FOLDER`` keeps the study there and goes on with it when it was
interrupted; with ``--as-is`` it takes the conditions that are measured there.

A strategy that is left out is left out of the profile too. Conditions are left out one at a time,
and, where there are enough, all but five drawn at random: what a study of five conditions says of
the others. Every error is against a measured median, which is noisy itself.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import yaml

from tierwise.predict.fit import fit_latency_model
from tierwise.predict.latency import LatencyModel
from tierwise.store.read import read_results
from tierwise.store.results import StudyResults, TrialResult, TrialState
from tierwise.study.run import run_study
from tierwise.tiers.topology import NetworkCondition
from tierwise.zoo.random_networks import ARCHITECTURES
from tierwise.zoo.subjects import materialise

DEMO_RATES = (["10Mbit", "25Mbit", "60Mbit", "150Mbit"],
              ["2Mbit", "5Mbit", "15Mbit", "50Mbit", "150Mbit"])  # fmt: skip
LARGE_RATES = (["100Mbit"], ["10Mbit", "50Mbit"])
OPERATORS = ["I", "Q", "P", "QP"]
KEPT, DRAWS, SEED = 5, 40, 0
# Issue: median under 5%, 90th percentile under 12%; the best at an unseen bandwidth, or one within
# 3% of it, in 95% of cases.
MEDIAN_ERROR, HIGH_ERROR, NEAR_BEST, NEAR_BEST_SHARE = 0.05, 0.12, 0.03, 0.95


def demo_study(folder: Path) -> tuple[Path, int]:
    path = materialise("classification", folder / "subject")
    study = yaml.safe_load(path.read_text("utf-8"))
    for link, rates in zip(("mobile-edge", "edge-cloud"), DEMO_RATES, strict=True):
        study["links"][link]["bandwidth"] = rates
    study["operators"] = OPERATORS
    study.pop("require")
    # Beside the subject's own file, which is compared with what it should be.
    path = path.with_name("measured.yaml")
    path.write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    return path, 20


def large_study(folder: Path) -> tuple[Path, int]:
    """No memory limits: every tier holds all strategies at once."""
    path = folder / "subject" / "measured.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    model = path.with_name("wide-resnet101-2.onnx")
    if not model.exists():
        onnx.save(ARCHITECTURES["wide-resnet101-2"](), model)
    links = zip(("mobile-edge", "edge-cloud"), LARGE_RATES, ("5ms", "20ms"), strict=True)
    study = {
        "model": model.name,
        "tiers": {name: {"cpus": cpus} for name, cpus in
                  (("mobile", 0.25), ("edge", 0.5), ("cloud", 1.0))},
        "links": {name: {"bandwidth": rates, "rtt": rtt} for name, rates, rtt in links},
        "operators": OPERATORS,
        "quality": {"calibration": 8, "evaluation": 8},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    return path, 8


def measured_study(folder: Path, *, large: bool) -> StudyResults:
    path, samples = (large_study if large else demo_study)(folder)
    study = yaml.safe_load(path.read_text("utf-8"))
    # A run that chooses leaves the profile and what segments cost; then all are measured.
    for measure in (
        {"samples": 5, "max_samples": 5},
        {"samples": samples, "strategies": "all"},
    ):
        path.write_text(yaml.safe_dump({**study, "measure": measure}, sort_keys=False), "utf-8")
        results = run_study(path, folder / "study")
    return results


@dataclass
class Found:
    """Relative errors, and whether the interval held."""

    errors: list[float] = field(default_factory=list)
    inside: list[bool] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    silent: int = 0

    def line(self, name: str) -> tuple[float, float]:
        sizes = np.abs(self.errors)
        median, high = float(np.median(sizes)), float(np.quantile(sizes, 0.9))
        print(
            f"{name:>24} {len(sizes):>5} {median:>8.1%} {high:>8.1%} {sizes.max():>8.1%}"
            f" {np.mean(self.inside):>12.0%}"
        )
        if self.silent:
            print(f"{'':>24} {self.silent} more are not predicted: nothing measured says enough")
        return median, high


class Truth:
    """Measured medians, and how far a model is off them."""

    def __init__(self, results: StudyResults) -> None:
        self.median_s = {
            (t.strategy, t.condition): float(np.median(t.latency_s))
            for t in results.trials
            if t.state is TrialState.MEASURED and len(t.latency_s)
        }

    def compare(
        self,
        model: LatencyModel,
        conditions: Sequence[NetworkCondition],
        rows: Sequence[int],
        found: Found,
    ) -> None:
        there = model.predict(conditions)
        for column, condition in enumerate(conditions):
            for row in rows:
                true_s = self.median_s.get((model.strategies[row], condition))
                if true_s is None or np.isnan(there.median_s[row, column]):
                    found.silent += true_s is not None
                    continue
                found.errors.append(there.median_s[row, column] / true_s - 1)
                low_s, high_s = there.low_s[row, column], there.high_s[row, column]
                found.inside.append(bool(low_s <= true_s <= high_s))

    def behind(self, model: LatencyModel, condition: NetworkCondition) -> float:
        """How far the predicted choice is behind the best, by what was measured."""
        known = [r for r, s in enumerate(model.strategies) if (s, condition) in self.median_s]
        true_s = np.array([self.median_s[model.strategies[r], condition] for r in known])
        predicted_s = model.predict([condition]).median_s[known, 0]
        return float(true_s[np.nanargmin(predicted_s)] / true_s.min() - 1)


def hidden(trial: TrialResult) -> TrialResult:
    """``trial`` as if it had not been measured."""
    return TrialResult(trial.strategy, trial.condition, TrialState.PENDING)


def without(results: StudyResults, conditions: Sequence[NetworkCondition]) -> LatencyModel:
    left = set(conditions)
    kept = tuple(hidden(t) if t.condition in left else t for t in results.trials)
    return fit_latency_model(replace(results, trials=kept))


def strategies_left_out(results: StudyResults, truth: Truth) -> Found:
    found = Found()
    for strategy in dict.fromkeys(strategy for strategy, _ in truth.median_s):
        kept = tuple(hidden(t) if t.strategy == strategy else t for t in results.trials)
        profile = tuple(t for t in results.profile if t.strategy != strategy)
        model = fit_latency_model(replace(results, trials=kept, profile=profile))
        truth.compare(model, results.conditions, [model.strategies.index(strategy)], found)
    return found


def conditions_left_out(
    results: StudyResults, truth: Truth, groups: Sequence[Sequence[NetworkCondition]]
) -> Found:
    found = Found()
    for left in groups:
        model = without(results, left)
        truth.compare(model, left, range(len(model.strategies)), found)
        found.behind += [truth.behind(model, condition) for condition in left]
    return found


def report(results: StudyResults) -> bool:
    truth, conditions = Truth(results), results.conditions
    strategies = {strategy for strategy, _ in truth.median_s}
    print(f"{len(strategies)} strategies, {len(conditions)} conditions; relative error, sizes")
    print(f"{'left out':>24} {'n':>5} {'median':>8} {'p90':>8} {'worst':>8} {'in interval':>12}")
    median, high = strategies_left_out(results, truth).line("a strategy")
    met = median < MEDIAN_ERROR and high < HIGH_ERROR
    groups = {"a condition": [[condition] for condition in conditions]}
    if len(conditions) > 2 * KEPT:
        rng = np.random.default_rng(SEED)
        groups[f"all but {KEPT} conditions"] = [
            [conditions[i] for i in rng.permutation(len(conditions))[KEPT:].tolist()]
            for _ in range(DRAWS)
        ]
    for name, group in groups.items():
        found = conditions_left_out(results, truth, group)
        found.line(name)
        behind = np.array(found.behind)
        share = float(np.mean(behind <= NEAR_BEST))
        print(
            f"{'':>24} the choice there is within {NEAR_BEST:.0%} of the best in {share:.1%} of"
            f" {len(behind)} cases (worst {behind.max():.1%})"
        )
        met &= share >= NEAR_BEST_SHARE
    return met


def as_is(folder: Path) -> StudyResults:
    """The study that is there, with the conditions under which all strategies are measured."""
    results = read_results(folder / "study")
    fewest = {
        c: min(len(t.latency_s) for t in results.trials if t.condition == c)
        for c in results.conditions
    }
    whole = tuple(c for c, n in fewest.items() if n == max(fewest.values()))
    trials = tuple(t for t in results.trials if t.condition in whole)
    return replace(results, conditions=whole, trials=trials)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--as-is", action="store_true")
    asked = parser.parse_args()
    if asked.folder is not None and asked.as_is:
        return 0 if report(as_is(asked.folder)) else 1
    if asked.folder is not None:
        return 0 if report(measured_study(asked.folder, large=asked.large)) else 1
    with tempfile.TemporaryDirectory(prefix="tierwise-") as temporary:
        return 0 if report(measured_study(Path(temporary), large=asked.large)) else 1


if __name__ == "__main__":
    sys.exit(main())
