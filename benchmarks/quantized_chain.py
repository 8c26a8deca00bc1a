"""QEP on models that nobody made for it: exit, INT8, cut, chain, and compare with the whole QE.

    python benchmarks/quantized_chain.py [MODEL ...]

For every shipped subject and every foreign model: blocks are skipped by the study's own rule where
there are any, one recipe quantizes whatever the gain, and the result is cut in the middle of its
work and at a quarter of it, at cuts where integers cross if there are such. With graph
optimisations off the chained segments must equal the whole QE bit by bit; with them on, rounding
may go the other way by steps.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.foreign import FOREIGN

from tierwise.errors import UserError
from tierwise.graph.analysis import Graph
from tierwise.graph.blocks import exit_candidates
from tierwise.graph.cuts import Cut, list_cuts
from tierwise.operators.early_exit import EarlyExitOptions, early_exit
from tierwise.operators.partition import Chain, partition
from tierwise.operators.quantize import RECIPES
from tierwise.operators.quantize.build import Builder, CannotQuantize
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import Optimisation, SessionOptions, open_session
from tierwise.zoo.subjects import materialise

Feeds = Mapping[str, np.ndarray]
INPUTS = 4


def subjects(names: Sequence[str]) -> Iterator[tuple[str, Graph, list[Feeds]]]:
    """Every model with some inputs: those it was prepared with, and others of the same shapes."""
    for name in ("digits", "scenes"):
        if not names or name in names:
            with tempfile.TemporaryDirectory() as folder:
                study = materialise(name, Path(folder))
                graph = prepare(study.parent / "model.onnx")
                feeds = {t.name: np.zeros(t.shape, t.dtype) for t in graph.inputs}
                yield name, graph, varied(feeds)
    for model in FOREIGN:
        if not names or model.name in names:
            graph, feeds = model.prepared()
            yield model.name, graph, varied(feeds)


def varied(feeds: Feeds) -> list[Feeds]:
    """The input, and random ones in its place; integers stay, because they are ids and masks."""
    rng = np.random.default_rng(0)
    return [
        {
            name: rng.standard_normal(array.shape).astype(array.dtype)
            if array.dtype.kind == "f"
            else array
            for name, array in feeds.items()
        }
        for _ in range(INPUTS)
    ]


def qe(graph: Graph, inputs: list[Feeds]) -> tuple[Graph, str]:
    """The variant, and what was done to it."""
    done = []
    if exit_candidates(graph):
        found = early_exit(graph, inputs, EarlyExitOptions(rule="last-two"))
        if found:
            graph = found[0].graph
            done.append("E")
    try:
        content = Builder(graph, inputs).build(next(iter(RECIPES)))
        graph = prepare(content, inputs[0], simplify=False)
        done.append("Q")
    except (CannotQuantize, UserError) as error:
        done.append(f"float: {error.message[:40]}")
    return graph, " ".join(reversed(done))


def integer_cuts(graph: Graph) -> list[Cut]:
    """Cuts near a quarter and half of the work, those where only integers cross first."""
    cuts = list_cuts(graph)
    quantized = [c for c in cuts if any(t.dtype in {"uint8", "int8"} for t in c.tensors)]
    pool = quantized or list(cuts)
    total = max(1, cuts[0].head_macs + cuts[0].tail_macs)
    return list(
        {
            cut.id: cut
            for share in (0.25, 0.5)
            for cut in [min(pool, key=lambda c: abs(c.head_macs / total - share))]
        }.values()
    )


def difference(graph: Graph, cuts: Sequence[Cut], feeds: Feeds, level: Optimisation) -> float:
    """Worst difference of the chain from the whole, relative to the output's largest value."""
    options = SessionOptions(optimisation=level)
    with open_session(graph.model, options) as session:
        whole = session.run(feeds)
    chain = Chain(partition(graph, cuts), options)
    result = chain.run(feeds)
    chain.close()
    worst = 0.0
    for name, expected in whole.items():
        scale = max(float(np.abs(expected.astype(np.float64)).max(initial=0)), 1e-12)
        off = np.abs(result[name].astype(np.float64) - expected.astype(np.float64))
        worst = max(worst, float(off.max(initial=0)) / scale)
    return worst


def main(names: Sequence[str]) -> int:
    print(__doc__)
    print(f"{'model':<22}{'done':<8}{'crosses':<34}{'off':>10}{'on':>10}")
    fine = True
    for name, graph, inputs in subjects(names):
        variant, done = qe(graph, inputs)
        cuts = integer_cuts(variant)
        off = difference(variant, cuts, inputs[0], "none")
        on = difference(variant, cuts, inputs[0], "all")
        kinds = ", ".join(
            f"{len(cut.tensors)} {'/'.join(sorted({t.dtype for t in cut.tensors}))}" for cut in cuts
        )
        fine &= off == 0
        equal = "bit-equal" if off == 0 else f"{off:.1e}"
        print(f"{name:<22}{done[:7]:<8}{kinds[:33]:<34}{equal:>10}{on:>10.1e}", flush=True)
    print(
        "\noff, on: worst difference of chained segments from the whole QE, relative to the output"
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
