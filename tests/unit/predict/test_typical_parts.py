"""Parts of a typical request add up to its latency."""

import numpy as np
import pytest

from tierwise.operators.strategy import Operator, Strategy
from tierwise.predict.unseen import _typical_parts
from tierwise.store.results import TrialResult, TrialState
from tierwise.tiers.topology import NetworkCondition


def trial(parts_s):
    latency_s = np.sum(list(parts_s.values()), axis=0)
    return TrialResult(
        Strategy(Operator.I, "I", ("mobile",)),
        NetworkCondition({}),
        TrialState.MEASURED,
        latency_s=latency_s,
        parts_s=parts_s,
    )


def test_a_delay_that_hits_now_one_part_and_now_another_is_not_lost():
    rng = np.random.default_rng(0)
    hit = rng.integers(0, 3, 300)
    parts_s = {
        name: 0.004 + 0.003 * (hit == i) + 0.0001 * rng.random(300)
        for i, name in enumerate(("client@mobile", "preprocess@mobile", "compute@mobile"))
    }
    one = trial(parts_s)
    typical = _typical_parts([(one, 1.0)])
    assert sum(np.median(part) for part in parts_s.values()) < 0.0125
    assert sum(typical.values()) == pytest.approx(np.median(one.latency_s), rel=0.01)
    slower = _typical_parts([(one, 1.25)])
    assert slower == pytest.approx({name: s / 1.25 for name, s in typical.items()})


def test_requests_that_were_far_too_late_do_not_count():
    compute_s = np.full(20, 0.010)
    compute_s[:4] = 2.0
    assert _typical_parts([(trial({"compute@mobile": compute_s}), 1.0)]) == pytest.approx(
        {"compute@mobile": 0.010}
    )
    assert _typical_parts([(trial({"compute@mobile": np.array([0.5])}), 1.0)])
