"""Early exit on models that were not made for it: a transformer encoder."""

import numpy as np
import pytest
from tests.foreign import FOREIGN

from tierwise.operators.early_exit import EarlyExitOptions, early_exit
from tierwise.operators.early_exit.fidelity import divergence
from tierwise.operators.early_exit.refit import outputs_of
from tierwise.runtime.profile import node_times
from tierwise.runtime.session import SessionOptions

pytestmark = [pytest.mark.foreign, pytest.mark.slow]
MODELS = {model.name: model for model in FOREIGN}


def inputs(feeds, count, seed):
    """Tokens drawn anew; what is not a token (masks, segment ids) stays."""
    rng = np.random.default_rng(seed)
    tokens = feeds["input_ids"]
    return [
        feeds | {"input_ids": rng.integers(1000, 20000, tokens.shape).astype(tokens.dtype)}
        for _ in range(count)
    ]


@pytest.mark.xdist_group("minilm")
def test_blocks_of_a_transformer_are_skipped_by_measured_time():
    graph, feeds = MODELS["minilm"].prepared()
    calibration, unseen = inputs(feeds, 24, seed=0), inputs(feeds, 12, seed=1)
    cost = node_times(graph, feeds)
    plain, exit_ = (
        early_exit(graph, calibration, EarlyExitOptions(save=(0.15,), compensate=on),
                   node_cost=cost)[0]
        for on in (False, True)
    )  # fmt: skip
    assert exit_.graph.macs < graph.macs
    assert [one.name for one in exit_.graph.outputs] == [one.name for one in graph.outputs]
    assert any("of the time of its kernels" in note for note in exit_.notes)
    run = SessionOptions()
    truth = outputs_of(graph.model, unseen, run)
    lost, lost_plain = (
        divergence(truth, outputs_of(one.graph.model, unseen, run)).mean() for one in (exit_, plain)
    )
    # Its blocks end in a normalisation, which hides what a refit would need: the control stays.
    assert lost <= lost_plain
