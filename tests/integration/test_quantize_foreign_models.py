"""Quantize on models of many families: a valid variant, or fp32 with a reason."""

import numpy as np
import pytest
from tests.foreign import FOREIGN, ForeignModel

from tierwise.data.source import Dataset
from tierwise.data.tensors import TensorSamples
from tierwise.graph.cuts import find_cut
from tierwise.operators.partition import Chain, partition
from tierwise.operators.quantize import Recipe, quantize
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.testing.meters import FixedMeter

pytestmark = [pytest.mark.foreign, pytest.mark.slow]
# One of each family; the others differ in size.
CHOSEN = {"opennsfw", "openwakeword", "silero-vad", "rapidocr-orientation", "minilm", "magika"}
MODELS = [
    pytest.param(model, id=model.name, marks=pytest.mark.xdist_group(model.name))
    for model in FOREIGN
    if model.name in CHOSEN
]


def noisy(feeds, count=4):
    """Inputs around one that the model is known to run with; integers stay."""
    rng = np.random.default_rng(0)
    arrays = {
        name: np.stack(
            [
                value
                if value.dtype.kind != "f"
                else (value + 0.1 * rng.standard_normal(value.shape)).astype(value.dtype)
                for _ in range(count)
            ]
        )
        for name, value in feeds.items()
    }
    samples = TensorSamples(
        arrays=arrays,
        dtypes={name: str(value.dtype) for name, value in feeds.items()},
        unbatched=frozenset(feeds),
        ids=tuple(map(str, range(count))),
    )
    return Dataset(samples, description="noise around an input")


@pytest.mark.parametrize("model", MODELS)
def test_a_foreign_model_is_quantized_or_kept_with_a_reason(model: ForeignModel):
    graph, feeds = model.prepared()
    recipe = Recipe(reduce_range=True, products_only=True)
    variant = quantize(
        graph, noisy(feeds), recipes=(recipe,), max_loss=10, budget_s=30, meter=FixedMeter(0.5)
    )
    if variant.recipe is None:
        assert variant.graph is graph
        assert variant.caveats[0].evidence.startswith(("Kept fp32: ", "Not quantized: "))
        return
    before = [(one.name, one.dtype, len(one.shape)) for one in (*graph.inputs, *graph.outputs)]
    after = [
        (one.name, one.dtype, len(one.shape))
        for one in (*variant.graph.inputs, *variant.graph.outputs)
    ]
    assert after == before
    off = SessionOptions(optimisation="none")
    cut = find_cut(variant.graph, 0.5)
    with open_session(variant.graph.model, off) as whole:
        expected = whole.run(feeds)
    got = Chain(partition(variant.graph, [cut]), off).run(feeds)
    for name, value in expected.items():
        assert np.array_equal(got[name], value, equal_nan=value.dtype.kind == "f")
