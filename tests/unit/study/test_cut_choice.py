import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tierwise.errors import CutError
from tierwise.runtime.prepare import prepare
from tierwise.study.cut_choice import Workload, choose_cut, predict_s, predict_whole_s
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology

TOPOLOGY = Topology((Tier("mobile", cpus=0.25), Tier("cloud", cpus=1.0)))
PAIR = ("mobile", "cloud")


def condition(bit_per_s, rtt_s=0.0):
    return NetworkCondition({"mobile-cloud": LinkShape(bit_per_s, rtt_s)})


SLOW, FAST = condition(1e4), condition(1e9)
WORK = Workload(compute_s=0.1, request_bytes=1000, reply_bytes=100)


def chain(widths):
    """Dense layers of ``widths``; the cut behind layer i carries widths[i] floats."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for i in range(len(widths) - 1):
        weight = rng.standard_normal((widths[i], widths[i + 1])).astype(np.float32)
        weights.append(
            helper.make_tensor(f"w{i}", TensorProto.FLOAT, weight.shape, weight.tobytes(), raw=True)
        )
        nodes.append(helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"], name=f"n{i}"))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, widths[0]])],
        [helper.make_tensor_value_info(f"t{len(nodes)}", TensorProto.FLOAT, [1, widths[-1]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return prepare(ir.from_proto(model), simplify=False)


def test_a_slow_link_cuts_at_the_fewest_bytes_and_a_fast_one_early():
    graph = chain([64, 512, 256, 8, 64, 10])
    slow = choose_cut(graph, PAIR, TOPOLOGY, [SLOW], WORK)
    fast = choose_cut(graph, PAIR, TOPOLOGY, [FAST], WORK)
    assert slow.cut.wire_bytes == 32
    assert fast.cut.head_macs < slow.cut.head_macs
    assert slow.regret == fast.regret == 0.0


def test_one_cut_serves_a_sweep_with_the_least_mean_regret():
    graph = chain([64, 512, 256, 8, 64, 10])
    both = choose_cut(graph, PAIR, TOPOLOGY, [SLOW, FAST], WORK)
    assert len(both.predicted_s) == 2
    assert both.regret > 0
    assert both.cut.wire_bytes == 32


def test_the_prediction_is_compute_by_share_plus_bytes_plus_round_trips():
    graph = chain([64, 64, 64])
    (chosen,) = [choose_cut(graph, PAIR, TOPOLOGY, [condition(8e6, 0.05)], WORK)]
    assert chosen.cut.head_macs == chosen.cut.tail_macs
    predicted = predict_s(chosen.cut, PAIR, TOPOLOGY, condition(8e6, 0.05), WORK)
    assert predicted == pytest.approx(0.05 / 0.25 + 0.05 + 256e-6 + 0.05 + 100e-6)
    assert predict_whole_s("cloud", TOPOLOGY, condition(8e6, 0.05), WORK) == pytest.approx(
        0.1 + 0.05 + 1000e-6 + 100e-6
    )
    assert predict_whole_s("mobile", TOPOLOGY, FAST, WORK) == pytest.approx(0.4)


def test_a_model_of_one_layer_cannot_be_cut():
    with pytest.raises(CutError, match="cannot be cut with work on both sides"):
        choose_cut(chain([4, 4]), PAIR, TOPOLOGY, [FAST], WORK)
