"""Foreign models of many families: every listed cut separates, chained segments are the whole."""

import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from tests.foreign import FOREIGN, ForeignModel

from tierwise.graph.analysis import Graph
from tierwise.graph.blocks import exit_candidates
from tierwise.graph.cuts import Cut, find_cut, list_cuts
from tierwise.graph.segments import split
from tierwise.graph.skip import skip_blocks
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import Optimisation, SessionOptions, open_session

pytestmark = [pytest.mark.foreign, pytest.mark.slow]
# All tests of a model in one process, which prepares it once.
MODELS = [
    pytest.param(model, id=model.name, marks=pytest.mark.xdist_group(model.name))
    for model in FOREIGN
]

# Cuts that one chain crosses. Every listed cut is in exactly one chain, so all of them are crossed
# at the price of building the model once a chain rather than once a cut.
CHAIN = 40
# With optimisations on, a segment's border keeps operators from being fused across it.
RELATIVE_TOLERANCE = 1e-4

Arrays = dict[str, np.ndarray]


def run_chain(segments: Sequence[ir.Model], feeds: Arrays, level: Optimisation) -> Arrays:
    for segment in segments:
        with open_session(segment, SessionOptions(optimisation=level)) as session:
            feeds = session.run(feeds)
    return feeds


def chains(cuts: Sequence[Cut]) -> list[Sequence[Cut]]:
    stride = max(1, -(-len(cuts) // CHAIN))
    return [cuts[start::stride] for start in range(stride)]


def assert_close(result: Arrays, whole: Arrays) -> None:
    for name, expected in whole.items():
        scale = np.abs(expected.astype(np.float64)).max(initial=1e-12)
        error = np.abs(result[name].astype(np.float64) - expected.astype(np.float64)).max(initial=0)
        assert error <= RELATIVE_TOLERANCE * scale, name


def prepared(model: ForeignModel) -> tuple[Graph, Arrays, tuple[Cut, ...]]:
    graph, feeds = model.prepared()
    cuts = list_cuts(graph)
    assert cuts, f"{model.name} cannot be cut"
    return graph, feeds, cuts


@pytest.mark.parametrize("model", MODELS)
def test_segments_of_listed_cuts_chained_are_the_whole_bit_for_bit(model: ForeignModel) -> None:
    graph, feeds, cuts = prepared(model)
    with open_session(graph.model, SessionOptions(optimisation="none")) as session:
        whole = session.run(feeds)
    crossed = 0
    cuts = cuts[:: model.every]
    for chain in chains(cuts):
        result = run_chain(split(graph, chain), feeds, "none")
        crossed += len(chain)
        assert [*result] == [*whole]
        for name, expected in whole.items():
            np.testing.assert_array_equal(result[name], expected, err_msg=f"{name} at {chain[0]}")
    assert crossed == len(cuts)


@pytest.mark.parametrize("model", MODELS)
def test_with_optimisations_on_segments_stay_within_the_tolerance(model: ForeignModel) -> None:
    graph, feeds, cuts = prepared(model)
    with open_session(graph.model) as session:
        whole = session.run(feeds)
    middle = [find_cut(graph, share) for share in (0.25, 0.5, 0.75)] if graph.macs else []
    for chain in [chains(cuts)[0], *([cut] for cut in (cuts[0], *middle, cuts[-1]))]:
        assert_close(run_chain(split(graph, chain), feeds, "all"), whole)


@pytest.mark.parametrize("model", MODELS)
def test_the_simplified_model_still_computes_what_the_file_does(model: ForeignModel) -> None:
    graph, feeds, cuts = prepared(model)
    with open_session(model.path(), SessionOptions(optimisation="none")) as session:
        original = session.run(feeds)
    with open_session(graph.model, SessionOptions(optimisation="none")) as session:
        assert_close(session.run(feeds), original)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", cut.id) for cut in cuts)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        pytest.param(name, blocks, marks=pytest.mark.xdist_group(name))
        for name, blocks in (("opennsfw", 12), ("minilm", 6), ("minilm-int8", 12), ("nudenet", 6))
    ],
)
def test_blocks_of_foreign_models_are_found_and_can_be_skipped(name: str, blocks: int) -> None:
    (model,) = (model for model in FOREIGN if model.name == name)
    graph, feeds, _ = prepared(model)
    found = exit_candidates(graph)
    assert len(found) == blocks
    shorter = prepare(skip_blocks(graph, found), feeds, simplify=False)
    assert shorter.macs == graph.macs - sum(exit_.saved_macs for exit_ in found)
    with open_session(shorter.model) as session:
        result = session.run(feeds)
    assert {key: value.shape for key, value in result.items()} == {
        tensor.name: tensor.shape for tensor in graph.outputs
    }
