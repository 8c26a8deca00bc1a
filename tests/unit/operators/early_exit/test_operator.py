import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tierwise.data.source import Dataset
from tierwise.data.tensors import TensorSamples
from tierwise.errors import DataError, ExitError, UserError
from tierwise.graph.analysis import Graph
from tierwise.graph.blocks import ExitCandidate
from tierwise.operators.early_exit import EarlyExitOptions, Means, deepest_within, early_exit
from tierwise.operators.early_exit.fidelity import divergence
from tierwise.operators.early_exit.operator import stretches_in_words
from tierwise.operators.early_exit.refit import outputs_of
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions

CHANNELS, SIDE, BLOCKS, CLASSES = 6, 8, 5, 4


def residual_model(blocks=BLOCKS) -> bytes:
    """A small residual CNN whose blocks do little each, as those of trained ones do."""
    rng = np.random.default_rng(7)
    nodes, weights = [], []

    def conv(source, target, c_in, *, size=3, scale=1.0):
        w = rng.standard_normal((CHANNELS, c_in, size, size)) * scale / np.sqrt(c_in * size * size)
        b = rng.standard_normal(CHANNELS) * 0.1
        weights.extend(
            numpy_helper.from_array(a.astype(np.float32), f"{target}.{n}")
            for a, n in ((w, "w"), (b, "b"))
        )
        pads = [size // 2] * 4
        inputs = [source, f"{target}.w", f"{target}.b"]
        nodes.append(helper.make_node("Conv", inputs, [target], name=target, pads=pads))

    conv("x", "stem", 1, scale=2.0)
    nodes.append(helper.make_node("Relu", ["stem"], ["h0"], name="relu0"))
    for i in range(blocks):
        conv(f"h{i}", f"a{i}", CHANNELS)
        nodes.append(helper.make_node("Relu", [f"a{i}"], [f"b{i}"], name=f"b{i}"))
        conv(f"b{i}", f"c{i}", CHANNELS, scale=0.5)
        nodes.append(helper.make_node("Add", [f"h{i}", f"c{i}"], [f"s{i}"], name=f"s{i}"))
        nodes.append(helper.make_node("Relu", [f"s{i}"], [f"h{i + 1}"], name=f"h{i + 1}"))
    nodes.append(helper.make_node("GlobalAveragePool", [f"h{blocks}"], ["pool"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"], name="flat"))
    head = rng.standard_normal((CLASSES, CHANNELS)).astype(np.float32)
    weights.append(numpy_helper.from_array(head, "head.w"))
    weights.append(numpy_helper.from_array(np.zeros(CLASSES, np.float32), "head.b"))
    nodes.append(
        helper.make_node("Gemm", ["flat", "head.w", "head.b"], ["y"], name="head", transB=1)
    )
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def inputs(count, seed):
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((1, 1, SIDE, SIDE)).astype(np.float32)} for _ in range(count)]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return prepare(residual_model())


def mean_divergence(graph, variant, feeds):
    run = SessionOptions()
    truth = outputs_of(graph.model, feeds, run)
    return divergence(truth, outputs_of(variant.graph.model, feeds, run)).mean()


def test_compensation_brings_unseen_outputs_back_to_the_original(graph):
    calibration, unseen = inputs(48, seed=1), inputs(40, seed=2)
    plain, refitted = (
        early_exit(graph, calibration, EarlyExitOptions(save=(0.3,), compensate=on))[0]
        for on in (False, True)
    )
    assert mean_divergence(graph, refitted, unseen) < 0.5 * mean_divergence(graph, plain, unseen)


def test_compensation_adds_no_node_and_no_mac(graph):
    calibration = inputs(32, seed=1)
    plain, refitted = (
        early_exit(graph, calibration, EarlyExitOptions(save=(0.15,), compensate=on))[0]
        for on in (False, True)
    )
    assert [n.name for n in refitted.graph.nodes] == [n.name for n in plain.graph.nodes]
    assert refitted.graph.macs == plain.graph.macs < graph.macs


def test_the_search_is_never_worse_than_the_hand_rule_on_its_own_data(graph):
    calibration = inputs(64, seed=3)
    rule = early_exit(graph, calibration, EarlyExitOptions(rule="last-two", compensate=False))[0]
    share = 1 - rule.graph.macs / graph.macs
    found = early_exit(graph, calibration, EarlyExitOptions(save=(share,), compensate=False))[0]
    assert found.graph.macs <= rule.graph.macs
    searched_on = calibration[:32]
    assert mean_divergence(graph, found, searched_on) <= mean_divergence(graph, rule, searched_on)


def test_a_front_has_a_variant_for_every_share_and_saves_more_and_more(graph):
    front = early_exit(graph, inputs(32, seed=1), EarlyExitOptions(save=(0.15, 0.3, 0.5)))
    assert [variant.name for variant in front] == ["E-15%", "E-30%", "E-50%"]
    macs = [variant.graph.macs for variant in front]
    assert macs == sorted(macs, reverse=True)


def test_named_tensors_are_skipped_as_asked(graph):
    variant = early_exit(graph, [], EarlyExitOptions(exits=(("h1", "h3"),)))[0]
    names = {node.name for node in variant.graph.nodes}
    assert "c1" not in names
    assert "c2" not in names
    assert "c3" in names


def test_the_same_seed_gives_the_same_weights(graph):
    a, b = (
        early_exit(graph, inputs(32, seed=1), EarlyExitOptions(save=(0.15,), seed=5))[0]
        for _ in range(2)
    )
    for name, value in a.graph.model.graph.initializers.items():
        other = b.graph.model.graph.initializers[name]
        np.testing.assert_array_equal(value.const_value.numpy(), other.const_value.numpy())


def test_asking_for_more_than_there_is_says_so(graph):
    variant = early_exit(graph, inputs(32, seed=1), EarlyExitOptions(save=(0.99,)))[0]
    assert "at most; 99.0% was asked" in variant.caveats[0].evidence


def test_too_little_calibration_data_is_refused_with_the_number_needed(graph):
    with pytest.raises(DataError, match="needs 16 calibration inputs, but there are 3"):
        early_exit(graph, inputs(3, seed=1))


def test_a_tensor_that_does_not_exist_is_named(graph):
    with pytest.raises(ExitError, match="nope"):
        early_exit(graph, [], EarlyExitOptions(exits=(("h1", "nope"),)))


@pytest.mark.parametrize("share", [0.0, 1.0, -3, 15])
def test_a_share_outside_zero_and_one_is_refused(share):
    with pytest.raises(UserError, match=r"between 0 and 1"):
        EarlyExitOptions(save=(share,))


def test_a_model_without_residual_blocks_has_no_early_exit():
    assert early_exit(prepare(residual_model(blocks=0)), inputs(32, seed=1)) == ()


def test_the_front_is_by_measured_time_where_there_is_one(graph):
    # Block 1 takes nearly all the time, so whoever wants to save some skips it.
    cost = {node.name: (100.0 if node.name in {"a1", "c1"} else 1.0) for node in graph.nodes}
    [exit_] = early_exit(
        graph, inputs(32, seed=1), EarlyExitOptions(save=(0.3,), compensate=False), node_cost=cost
    )
    left = {node.name for node in exit_.graph.nodes}
    assert "a1" not in left
    assert "of the time of its kernels" in exit_.notes[1]


@pytest.mark.parametrize("means", [(Means.STATISTICS,), (Means.RIDGE,)])
def test_each_way_of_compensation_helps_alone(graph, means):
    calibration, unseen = inputs(48, seed=1), inputs(40, seed=2)
    plain, better = (
        early_exit(graph, calibration, EarlyExitOptions(save=(0.3,), compensate=bool(m), means=m))[
            0
        ]
        for m in ((), means)
    )
    assert mean_divergence(graph, better, unseen) < mean_divergence(graph, plain, unseen)


def test_of_a_front_the_deepest_exit_within_the_budget_is_taken(graph):
    front = early_exit(graph, inputs(32, seed=1), EarlyExitOptions(save=(0.15, 0.3, 0.6)))
    feeds = inputs(24, seed=4)
    arrays = {"x": np.concatenate([one["x"] for one in feeds])}
    data = Dataset(
        TensorSamples(arrays=arrays, dtypes={"x": "float32"}, unbatched=frozenset(),
                      ids=tuple(map(str, range(24)))),
        description="noise",
    )  # fmt: skip
    everything = deepest_within(front, graph, data, "any", 100)
    assert everything.name == front[-1].name
    assert everything.notes[0].startswith(f"{front[-1].name} of a front; points of ")
    nothing = deepest_within(front, graph, data, "any", 0)
    assert nothing.name == front[0].name
    assert "Every exit of the front loses more than 0 points" in nothing.caveats[-1].evidence


def test_blocks_that_follow_each_other_are_told_as_one_stretch():
    exits = [ExitCandidate(*pair, 1) for pair in (("a", "b"), ("b", "c"), ("x", "y"))]
    assert stretches_in_words(exits) == "a to c, x to y"
