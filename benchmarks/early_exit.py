"""Early exit against the study's hand rule at equal MACs, on data that no step has seen.

    python benchmarks/early_exit.py [last-two] [last-four] [front]

For each of three samples of calibration inputs: the loss of top-1 of `rule: last-two` (and its
four-block extension) without any compensation, as the study did, and of the search at no fewer
MACs saved: plain, with channel statistics re-matched, with layers refitted, and with whatever helps
on held-out calibration inputs (the default). Losses are on the inputs that are in no calibration
sample. `front`: the shares of the default front, by kernel times, with the latency that they
really save, measured side by side.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from tierwise.data.source import Dataset, open_dataset
from tierwise.graph.analysis import Graph
from tierwise.operators.early_exit import EarlyExitOptions, Means, early_exit
from tierwise.operators.quantize import LocalMeter
from tierwise.runtime.materialise import model_bytes
from tierwise.runtime.prepare import prepare
from tierwise.runtime.profile import node_times
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.study.parse import read_study_file
from tierwise.zoo.subjects import materialise

SEEDS = (0, 1, 2)
CALIBRATION = 300
# Both cores: which blocks are chosen doesn't depend on how fast they run.
SESSION = SessionOptions(threads=2)
WAYS: dict[str, tuple[Means, ...]] = {
    "plain": (),
    "statistics": (Means.STATISTICS,),
    "ridge": (Means.RIDGE,),
    "both": tuple(Means),
}


def main(arguments: list[str]) -> None:
    wanted = arguments or ["last-two", "last-four", "front"]
    with tempfile.TemporaryDirectory() as folder:
        path = materialise("digits", Path(folder))
        study = read_study_file(path)
        graph = prepare(path.parent / study.model)
        with open_session(path.parent / study.model) as session:
            data = open_dataset(study.data, session.inputs, path.parent)
        print(f"{len(data)} images, {CALIBRATION} of them to calibrate with; points of top-1 lost")
        for rule in wanted:
            if rule == "front":
                front(graph, data)
                continue
            print(f"\n| calibration sample | saved | {rule} | saved by search | "
                  + " | ".join(WAYS) + " | both / rule |")  # fmt: skip
            print("|---" * (len(WAYS) + 5) + "|")
            ratios = [compare(graph, data, rule, seed) for seed in SEEDS]
            print(f"{rule}: median ratio of losses {median(ratios):.2f}, at most {max(ratios):.2f}")


def compare(graph: Graph, data: Dataset, rule: str, seed: int) -> float:
    order = np.random.default_rng(seed).permutation(len(data))
    calibration = [data.feeds(int(i)) for i in order[:CALIBRATION]]
    unseen = data.subset(order[CALIBRATION:])
    by_hand = EarlyExitOptions(rule=rule, compensate=False)
    hand = early_exit(graph, calibration, by_hand, session=SESSION)[0]
    share = 1 - hand.graph.macs / graph.macs
    whole = top_1(graph, unseen)
    lost_by_rule = whole - top_1(hand.graph, unseen)
    lost: dict[str, float] = {}
    saved = 0.0
    for way, means in WAYS.items():
        asked = EarlyExitOptions(save=(share,), compensate=bool(means), means=means, seed=seed)
        found = early_exit(graph, calibration, asked, session=SESSION)[0]
        saved = 1 - found.graph.macs / graph.macs
        lost[way] = whole - top_1(found.graph, unseen)
    ratio = max(lost["both"], 0.0) / lost_by_rule if lost_by_rule > 0 else float("nan")
    losses = " | ".join(f"{points:.2f}" for points in lost.values())
    print(
        f"| {seed} | {share:.1%} | {lost_by_rule:.2f} | {saved:.1%} | {losses} | {ratio:.2f} |",
        flush=True,
    )
    return ratio


def front(graph: Graph, data: Dataset) -> None:
    order = np.random.default_rng(SEEDS[0]).permutation(len(data))
    calibration = [data.feeds(int(i)) for i in order[:CALIBRATION]]
    unseen = data.subset(order[CALIBRATION:])
    times_s = node_times(graph, calibration[0])
    meter, whole = LocalMeter(calibration[:8]), top_1(graph, unseen)
    print("\n| exit | MACs saved | latency saved, measured | loses (points) | what was done |")
    print("|---|---:|---:|---:|---|")
    for one in early_exit(graph, calibration, session=SESSION, node_cost=times_s):
        saved = 1 - meter.ratio(model_bytes(one.graph.model), model_bytes(graph.model))
        macs = 1 - one.graph.macs / graph.macs
        notes = "; ".join(note.split(": ")[0] for note in one.notes)
        lost = whole - top_1(one.graph, unseen)
        print(f"| {one.name} | {macs:.1%} | {saved:.1%} | {lost:.2f} | {notes} |", flush=True)


def top_1(graph: Graph, data: Dataset) -> float:
    """Top-1 in percent."""
    with open_session(graph.model, SESSION) as session:
        hits = [
            int(next(iter(session.run(data.feeds(i)).values())).argmax()) == label
            for i, label in enumerate(data.labels)
        ]
    return 100 * float(np.mean(hits))


if __name__ == "__main__":
    main(sys.argv[1:])
