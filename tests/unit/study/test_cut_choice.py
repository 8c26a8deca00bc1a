import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tierwise.errors import CutError
from tierwise.graph.cuts import find_cut
from tierwise.operators.encoding import FP16, NONE, EncodingCost
from tierwise.predict.costs import latency_s
from tierwise.predict.dataflow import placement_cuts
from tierwise.runtime.prepare import prepare
from tierwise.study.busy import busy_placement
from tierwise.study.cut_choice import choose_cuts, predict_cuts_s
from tierwise.study.estimate import predict_whole_s
from tierwise.study.placing import RAW_INPUT, Placing, weights_by_node
from tierwise.study.scan import Scan
from tierwise.study.workload import Workload, node_seconds
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology

TOPOLOGY = Topology((Tier("mobile", cpus=0.25), Tier("cloud", cpus=1.0)))
PAIR = ("mobile", "cloud")
THREE = Topology((Tier("mobile", cpus=0.25), Tier("edge", cpus=0.5), Tier("cloud", cpus=1.0)))


def condition(bit_per_s, rtt_s=0.0):
    return NetworkCondition({"mobile-cloud": LinkShape(bit_per_s, rtt_s)})


def both(near_bit_per_s, far_bit_per_s):
    return NetworkCondition(
        {"mobile-edge": LinkShape(near_bit_per_s), "edge-cloud": LinkShape(far_bit_per_s)}
    )


SLOW, FAST = condition(1e4), condition(1e9)
WORK = Workload(compute_s=0.1, request_bytes=1000, reply_bytes=100)


def model(nodes, weights, inputs, outputs):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in outputs],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return prepare(ir.from_proto(made), simplify=False)


def weight(name, rows, columns):
    values = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.tobytes(), raw=True)


def chain(widths):
    """Dense layers of ``widths``; the cut behind layer i carries widths[i] floats."""
    layers = range(len(widths) - 1)
    return model(
        [
            helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"], name=f"n{i}")
            for i in layers
        ],
        [weight(f"w{i}", widths[i], widths[i + 1]) for i in layers],
        [("t0", [1, widths[0]])],
        [(f"t{len(widths) - 1}", [1, widths[-1]])],
    )


def random_graph(seed, nodes):
    """Dense layers with branches and sums; widths differ, so that so do bytes."""
    rng = np.random.default_rng(seed)
    made, weights, widths = [], [], {"x": 8}
    for index in range(nodes):
        names = [*widths]
        source = names[-1] if rng.random() < 0.6 else names[int(rng.integers(len(names)))]
        twins = [name for name in names if widths[name] == widths[source] and name != source]
        out = f"t{index}"
        if twins and rng.random() < 0.4:
            made.append(helper.make_node("Add", [source, twins[-1]], [out], name=f"n{index}"))
            widths[out] = widths[source]
        else:
            width = int(rng.choice([2, 8, 8, 32]))
            weights.append(weight(f"w{index}", widths[source], width))
            made.append(helper.make_node("MatMul", [source, f"w{index}"], [out], name=f"n{index}"))
            widths[out] = width
    read = {name for node in made for name in node.input}
    ends = [name for name in widths if name not in read and name != "x"]
    return model(made, weights, [("x", [1, 8])], [(name, [1, widths[name]]) for name in ends])


def test_a_slow_link_cuts_at_the_fewest_bytes_and_a_fast_one_early():
    placing = Placing(chain([64, 512, 256, 8, 64, 10]), WORK)
    slow = choose_cuts(placing, PAIR, TOPOLOGY, [SLOW])
    fast = choose_cuts(placing, PAIR, TOPOLOGY, [FAST])
    assert slow.cuts[0].wire_bytes == 32
    assert fast.cuts[0].head_macs < slow.cuts[0].head_macs


def test_one_cut_serves_a_sweep_with_the_least_mean_regret():
    placing = Placing(chain([64, 512, 256, 8, 64, 10]), WORK)
    chosen = choose_cuts(placing, PAIR, TOPOLOGY, [SLOW, FAST])
    assert chosen.cuts[0].wire_bytes == 32
    (slow,) = choose_cuts(placing, PAIR, TOPOLOGY, [SLOW]).predicted_s
    (fast,) = choose_cuts(placing, PAIR, TOPOLOGY, [FAST]).predicted_s
    assert chosen.predicted_s[0] == pytest.approx(slow)
    assert chosen.predicted_s[1] > fast


def test_the_prediction_is_compute_by_share_plus_bytes_plus_round_trips():
    placing = Placing(chain([64, 64, 64]), WORK)
    chosen = choose_cuts(placing, PAIR, TOPOLOGY, [condition(8e6, 0.05)])
    (cut,) = chosen.cuts
    assert cut.head_macs == cut.tail_macs
    expected = 0.05 / 0.25 + 0.05 + 256e-6 + 0.05 + 100e-6
    assert chosen.predicted_s == pytest.approx([expected])
    named = predict_cuts_s(placing, [cut], PAIR, TOPOLOGY, condition(8e6, 0.05))
    assert named == pytest.approx(expected)


def test_a_whole_model_takes_its_compute_and_the_way_there_and_back():
    assert predict_whole_s("cloud", TOPOLOGY, condition(8e6, 0.05), WORK) == pytest.approx(
        0.1 + 0.05 + 1000e-6 + 100e-6
    )
    assert predict_whole_s("mobile", TOPOLOGY, FAST, WORK) == pytest.approx(0.4)


def test_a_model_of_one_layer_cannot_be_cut():
    with pytest.raises(CutError, match="cannot be cut with work on both sides"):
        choose_cuts(Placing(chain([4, 4]), WORK), PAIR, TOPOLOGY, [FAST])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    nodes=st.integers(3, 12),
    rate=st.sampled_from([1e4, 1e6, 1e8, None]),
    chained=st.booleans(),
)
def test_the_minimum_cut_is_never_worse_than_the_plain_scan(seed, nodes, rate, chained):
    graph = random_graph(seed, nodes)
    placing = Placing(graph, WORK)
    topology = THREE if chained else TOPOLOGY
    at = both(1e6, rate) if chained else condition(rate)
    tiers = topology.names
    scan = Scan.of(placing, tiers)
    costs = placing.costs(tiers, topology, at)
    placed = busy_placement(placing, costs, placing.limits(tiers, topology))
    if not scan.places:
        return
    scanned = scan.predict_s(topology, at, tiers)
    chosen = choose_cuts(placing, tiers, topology, [at])
    assert chosen.predicted_s[0] <= scanned.min() * (1 + 1e-5)
    if placed is None:
        assert chained  # the tier in the middle may be left without work
        return
    assert placed.latency_s == pytest.approx(latency_s(placing.flow, costs, placed.tier_of))
    # The best of the listed ones, as a placement, costs what the scan says it does.
    best = scan.places[int(np.argmin(scanned))]
    order = list(placing.flow.nodes)
    ends = [order.index(scan.cuts[index].behind) for index in best]
    tier_of = {name: sum(at > end for end in ends) for at, name in enumerate(order)}
    around = scanned.min() - latency_s(placing.flow, costs, tier_of)
    if placed.proven_optimal:
        assert placed.latency_s <= scanned.min() - around + 1e-6


def test_the_minimum_cut_finds_what_no_listed_cut_is():
    """Two branches, each narrow in another place: the list never cuts both where it is narrow."""
    wide, narrow = 512, 4
    nodes, weights = [], []

    def layer(source, target, rows, columns):
        weights.append(weight(f"w.{target}", rows, columns))
        nodes.append(
            helper.make_node("MatMul", [source, f"w.{target}"], [target], name=f"n.{target}")
        )

    layer("x", "stem", 64, wide)
    for branch in ("a", "b"):
        layer("stem", f"{branch}1", wide, narrow)
        layer(f"{branch}1", f"{branch}2", narrow, wide)
        layer(f"{branch}2", f"{branch}3", wide, wide)
    nodes.append(helper.make_node("Add", ["a3", "b3"], ["sum"], name="n.sum"))
    layer("sum", "y", wide, 10)
    graph = model(nodes, weights, [("x", [1, 64])], [("y", [1, 10])])
    placing = Placing(graph, WORK)
    chosen = choose_cuts(placing, PAIR, TOPOLOGY, [condition(1e5)])
    assert {*chosen.cuts[0].names} == {"a1", "b1"}
    assert chosen.names == ("a1,b1",)
    assert find_cut(graph, chosen.names[0]).names == chosen.cuts[0].names
    scan = Scan.of(placing, PAIR)
    assert chosen.predicted_s[0] < 0.9 * scan.predict_s(TOPOLOGY, condition(1e5), PAIR).min()


def test_three_tiers_get_two_cuts_with_work_on_each():
    placing = Placing(chain([64, 512, 16, 256, 8, 64, 10]), WORK)
    chosen = choose_cuts(placing, THREE.names, THREE, [both(1e6, 1e4)])
    near, far = chosen.cuts
    assert near.head_macs < far.head_macs
    assert far.wire_bytes == 32
    placed, _ = placement_cuts(
        placing.graph, placing.flow, dict.fromkeys(placing.flow.nodes, 0) | {"n5": 2}
    )
    assert placed == (0, 2)


def test_an_encoding_moves_the_cut_and_one_that_lost_too_much_does_not():
    graph = chain([64, 16, 24, 512, 10])
    ways = {
        "t2": (EncodingCost(NONE, 96, 0, 0, 0), EncodingCost(FP16, 16, 1e-5, 1e-5, 0)),
    }
    work = Workload(0.1, 1000, 100, crossing=ways)
    at = [condition(1e4)]
    assert choose_cuts(Placing(graph, work), PAIR, TOPOLOGY, at).cuts[0].names == ("t2",)
    without = Placing(graph, work, forbidden=frozenset({("t2", "fp16")}))
    assert choose_cuts(without, PAIR, TOPOLOGY, at).cuts[0].names == ("t1",)


def test_what_must_stay_on_the_first_tier_stays_there():
    graph = chain([8, 512, 256, 64, 16, 10])
    fast = [condition(1e9)]
    assert choose_cuts(Placing(graph, WORK), PAIR, TOPOLOGY, fast).cuts[0].names == ("t1",)
    later = Placing(graph, WORK, private="n2")
    assert choose_cuts(later, PAIR, TOPOLOGY, fast).cuts[0].names == ("t3",)
    named = Placing(graph, WORK, private="t3")
    assert choose_cuts(named, PAIR, TOPOLOGY, fast).cuts[0].names == ("t3",)
    with pytest.raises(CutError, match="while what must stay on mobile stays there"):
        choose_cuts(Placing(graph, WORK, private="n4"), PAIR, TOPOLOGY, fast)
    with pytest.raises(CutError, match="no node or tensor 'nowhere'"):
        choose_cuts(Placing(graph, WORK, private="nowhere"), PAIR, TOPOLOGY, fast)
    raw = Placing(graph, WORK, private=RAW_INPUT)
    assert raw.stay == {"t0"}


def test_weights_that_a_tier_cannot_hold_go_to_the_other_one():
    graph = chain([64, 256, 256, 256, 10])
    sizes = weights_by_node(graph)
    assert sizes == {"n0": 65_536, "n1": 262_144, "n2": 262_144, "n3": 10_240}
    small = Topology((Tier("mobile", cpus=1.0, memory_bytes=100_000), Tier("cloud", cpus=0.1)))
    chosen = choose_cuts(Placing(graph, WORK), PAIR, small, [condition(1e9)])
    assert chosen.cuts[0].names == ("t1",)
    roomy = Topology((Tier("mobile", cpus=1.0), Tier("cloud", cpus=0.1)))
    chosen = choose_cuts(Placing(graph, WORK), PAIR, roomy, [condition(1e9)])
    assert chosen.cuts[0].names == ("t3",)


def test_kernels_that_were_renamed_are_spread_over_the_nodes_without_any():
    graph = chain([8, 8, 8, 8])
    seconds = node_seconds(graph, {"n0": 2.0, "fused n1 n2": 4.0}, total_s=12.0)
    assert seconds == pytest.approx({"n0": 4.0, "n1": 4.0, "n2": 4.0})
