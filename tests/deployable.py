"""Made-up figures over a real model, for tests that write or run a deployment."""

from dataclasses import replace

import pytest

from tierwise.graph.cuts import list_cuts
from tierwise.graph.segments import split
from tierwise.operators.strategy import Operator
from tierwise.runtime.materialise import model_bytes
from tierwise.runtime.prepare import prepare
from tierwise.store.artefacts import Artefacts
from tierwise.testing.results import made_up_results
from tierwise.testing.subjects import residual_classifier


@pytest.fixture(scope="session")
def deployable(tmp_path_factory):
    """Results, artefacts and a cut: the segments are where a run would have left them."""
    artefacts = Artefacts(tmp_path_factory.mktemp("study") / "artefacts")
    sha256 = artefacts.put(model_bytes(residual_classifier().graph.model))
    graph = prepare(artefacts.path(sha256), simplify=False)
    cuts = [cut for cut in list_cuts(graph) if len(cut.tensors) == 1]
    cut = cuts[len(cuts) // 2]
    for segment in split(graph, [cut]):
        artefacts.put(model_bytes(segment))
    results = made_up_results(operators=(Operator.I, Operator.P), blocks=20)
    trials = tuple(
        replace(t, strategy=replace(t.strategy, cuts=(cut.id,))) if t.strategy.cuts else t
        for t in results.trials
    )
    variants = {"I": replace(results.variants["I"], sha256=sha256)}
    return replace(results, trials=trials, variants=variants), artefacts, cut.id
