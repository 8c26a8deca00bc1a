"""Early exit against the study's hand rule at equal MACs, on data that no step has seen.

    python benchmarks/early_exit.py

For each of three samples of calibration inputs: the loss of top-1 of `rule: last-two` (and its
four-block extension) without any compensation, as the study did, and of the search with
compensation at no fewer MACs saved. Losses are on the inputs that are in no calibration sample.
"""

import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from tierwise.data.source import Dataset, open_dataset
from tierwise.graph.analysis import Graph
from tierwise.operators.early_exit import EarlyExitOptions, early_exit
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.study.parse import read_study_file
from tierwise.zoo.subjects import materialise

SEEDS = (0, 1, 2)
CALIBRATION = 300
# Both cores: which blocks are chosen doesn't depend on how fast they run.
SESSION = SessionOptions(threads=2)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = materialise("digits", Path(folder))
        study = read_study_file(path)
        graph = prepare(path.parent / study.model)
        with open_session(path.parent / study.model) as session:
            data = open_dataset(study.data, session.inputs, path.parent)
        print(__doc__)
        print(f"{len(data)} images, {CALIBRATION} of them to calibrate with")
        print("seed  rule       saved  loss |  search saved  loss   loss of search / of rule")
        ratios = {rule: compare(graph, data, rule) for rule in ("last-two", "last-four")}
        for rule, found in ratios.items():
            print(f"{rule}: median ratio of losses {median(found):.2f}, at most {max(found):.2f}")


def compare(graph: Graph, data: Dataset, rule: str) -> list[float]:
    ratios = []
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(data))
        calibration = [data.feeds(int(i)) for i in order[:CALIBRATION]]
        unseen = data.subset(order[CALIBRATION:])
        by_hand = EarlyExitOptions(rule=rule, compensate=False)
        hand = early_exit(graph, calibration, by_hand, session=SESSION)[0]
        share = 1 - hand.graph.macs / graph.macs
        asked = EarlyExitOptions(save=(share,), seed=seed)
        found = early_exit(graph, calibration, asked, session=SESSION)[0]
        whole = top_1(graph, unseen)
        lost_by_rule, lost = (whole - top_1(one.graph, unseen) for one in (hand, found))
        ratios.append(max(lost, 0.0) / lost_by_rule if lost_by_rule > 0 else float("nan"))
        saved = 1 - found.graph.macs / graph.macs
        print(
            f"{seed:4}  {rule:9}  {share:5.1%}  {lost_by_rule:4.2f} |        {saved:5.1%}  "
            f"{lost:4.2f}   {ratios[-1]:.2f}",
            flush=True,
        )
    return ratios


def top_1(graph: Graph, data: Dataset) -> float:
    """Top-1 in percent."""
    with open_session(graph.model, SESSION) as session:
        hits = [
            int(next(iter(session.run(data.feeds(i)).values())).argmax()) == label
            for i, label in enumerate(data.labels)
        ]
    return 100 * float(np.mean(hits))


if __name__ == "__main__":
    main()
