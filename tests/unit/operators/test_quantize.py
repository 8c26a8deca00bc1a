import math

import numpy as np
import onnx
import pytest

from tierwise.caveats import WarningKind
from tierwise.data.source import Dataset, open_dataset
from tierwise.data.split import split_indices
from tierwise.data.tensors import TensorSamples
from tierwise.errors import DataError
from tierwise.operators.quantize import RECIPES, Layout, Recipe, operator, quantize
from tierwise.operators.quantize.build import Builder
from tierwise.operators.quantize.integer_nodes import float_nodes
from tierwise.quality.evaluate import evaluate, refer
from tierwise.runtime.instructions import cpu_instructions
from tierwise.runtime.materialise import model_bytes
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.study.parse import read_study_file
from tierwise.testing.meters import FixedMeter
from tierwise.testing.subjects import residual_classifier
from tierwise.zoo.subjects import materialise


class OldMeter(FixedMeter):
    instructions = "AVX2, no VNNI"


@pytest.fixture(scope="module")
def subject():
    return residual_classifier(channels=6, blocks=2, size=8, count=36)


def test_a_quantized_model_keeps_its_answers_and_computes_on_integers(subject):
    variant = quantize(
        subject.graph, subject.calibration, task="classification", recipes=RECIPES[:1],
        max_loss=3, meter=FixedMeter(0.6),
    )  # fmt: skip
    assert variant.recipe == RECIPES[0]
    assert "QuantizeLinear" in {node.op_type for node in variant.graph.nodes}
    assert variant.graph.inputs == subject.graph.inputs
    assert variant.graph.outputs == subject.graph.outputs
    reference = refer(subject.graph.model, subject.evaluation, "classification")
    figure = evaluate(variant.graph.model, subject.evaluation, "classification", reference)
    assert figure.loss <= 3


def test_the_fastest_recipe_within_the_quality_budget_is_chosen(subject):
    recipes = (Recipe(), Recipe(reduce_range=True), Recipe(layout=Layout.QOPERATOR))
    variant = quantize(
        subject.graph, subject.calibration, task="classification", recipes=recipes,
        max_loss=10, meter=FixedMeter(0.8, 0.5, 0.7),
    )  # fmt: skip
    assert variant.recipe == recipes[1]
    assert [attempt.ratio for attempt in variant.attempts] == [0.8, 0.5, 0.7]
    assert [attempt.outcome for attempt in variant.attempts] == [
        "slower than another", "chosen", "slower than another",
    ]  # fmt: skip


def test_slower_than_fp32_is_never_chosen_and_the_reasons_are_told(subject):
    variant = quantize(subject.graph, subject.calibration, meter=FixedMeter(1.2), recipes=RECIPES)
    assert variant.recipe is None
    assert variant.graph is subject.graph
    [caveat] = variant.caveats
    assert caveat.kind is WarningKind.INT8_SLOWER
    assert "takes 1.20 x the time of fp32" in caveat.evidence
    assert "AVX2 and little else" in caveat.evidence
    assert "million MACs are in 8 bits" in caveat.evidence


def slower_in(variant):
    return [one for one in variant.caveats if one.kind is WarningKind.INT8_SLOWER]


def test_over_several_tiers_the_mean_decides_and_a_tier_that_is_slower_is_told(subject):
    recipes = (Recipe(), Recipe(reduce_range=True), Recipe(layout=Layout.QOPERATOR))
    meters = {"mobile": FixedMeter(0.9, 0.5, 0.4), "cloud": FixedMeter(0.4, 0.5, 1.3)}
    variant = quantize(
        subject.graph, subject.calibration, task="classification", recipes=recipes, max_loss=10,
        meter=meters,
    )  # fmt: skip
    # sqrt(0.9 * 0.4) = 0.6, 0.5, sqrt(0.4 * 1) = 0.63: slower than fp32 counts as fp32.
    assert variant.recipe == recipes[1]
    assert [round(attempt.ratio, 2) for attempt in variant.attempts] == [0.6, 0.5, 0.63]
    assert variant.ratios == {"mobile": 0.5, "cloud": 0.5}
    assert not slower_in(variant)
    one = quantize(
        subject.graph, subject.calibration, task="classification", recipes=recipes[2:],
        max_loss=10, meter={"mobile": FixedMeter(0.4), "cloud": FixedMeter(1.3)},
    )  # fmt: skip
    assert "0.40 x on mobile, 1.30 x on cloud the latency of fp32" in one.notes
    [caveat] = slower_in(one)
    assert caveat.subject == "cloud"
    assert "1.30 x the time of fp32 (the CPU has AVX2 and little else)" in caveat.evidence


def test_a_tier_that_cannot_run_the_models_does_not_vote(subject):
    variant = quantize(
        subject.graph, subject.calibration, task="classification", recipes=RECIPES[:1],
        max_loss=10, meter={"mobile": FixedMeter(math.nan), "cloud": FixedMeter(0.5)},
    )  # fmt: skip
    assert variant.recipe == RECIPES[0]
    assert [caveat.subject for caveat in slower_in(variant)] == ["mobile"]
    nowhere = quantize(
        subject.graph, subject.calibration, recipes=RECIPES[:2],
        meter={"mobile": FixedMeter(math.nan), "cloud": FixedMeter(math.nan)},
    )  # fmt: skip
    assert nowhere.recipe is None
    assert "no tier could run it: mobile, cloud" in nowhere.caveats[0].evidence


def test_weights_that_saturate_on_a_tier_are_not_judged_by_a_cpu_on_which_they_do_not(
    subject, monkeypatch
):
    monkeypatch.setattr(operator, "cpu_instructions", lambda: "AVX-512, AVX-512 VNNI")
    recipes = (Recipe(), Recipe(reduce_range=True))
    meters = {"mobile": OldMeter(0.5), "cloud": OldMeter(0.5)}
    variant = quantize(
        subject.graph, subject.calibration, recipes=recipes, max_loss=100, meter=meters
    )
    assert variant.recipe == recipes[1]
    assert any(
        "7-bit weights, because others saturate on mobile, cloud" in n for n in variant.notes
    )
    monkeypatch.setattr(operator, "cpu_instructions", lambda: "AVX2, no VNNI")
    variant = quantize(
        subject.graph, subject.calibration, recipes=recipes, max_loss=100, meter=meters
    )
    assert len(variant.attempts) == 2


def test_the_same_recipe_and_seed_give_the_same_bytes(subject):
    first, second = (
        model_bytes(
            quantize(
                subject.graph, subject.calibration, recipes=RECIPES[:1], max_loss=100,
                meter=FixedMeter(0.5), seed=3,
            ).graph.model
        )
        for _ in range(2)
    )  # fmt: skip
    assert first == second


def test_where_a_recipe_loses_too_much_sensitive_nodes_stay_in_float(subject):
    # Weights of one scale per tensor and 7 bits lose a lot here; the budget allows nothing.
    variant = quantize(
        subject.graph, subject.calibration, task="any", max_loss=0.05,
        recipes=(Recipe(per_channel=False, reduce_range=True),), meter=FixedMeter(0.7),
    )  # fmt: skip
    assert variant.recipe is not None
    [caveat] = [c for c in variant.caveats if c.kind is WarningKind.QUALITY_GUARD]
    assert variant.recipe.excluded[0] in caveat.evidence
    assert "evaluations" in caveat.evidence
    assert variant.attempts[0].outcome.startswith("loses")


def test_where_nothing_is_within_the_budget_fp32_stays(subject):
    variant = quantize(
        subject.graph, subject.calibration, task="any", max_loss=0,
        recipes=RECIPES[:1], meter=FixedMeter(0.5),
    )  # fmt: skip
    assert variant.recipe is None
    [caveat] = variant.caveats
    assert caveat.kind is WarningKind.QUALITY_GUARD
    assert "every recipe that is faster loses more than 0 points" in caveat.evidence


def test_without_time_one_recipe_is_tried_and_the_others_say_so(subject):
    variant = quantize(
        subject.graph, subject.calibration, max_loss=100, budget_s=0, meter=FixedMeter(0.5)
    )
    assert variant.recipe == RECIPES[0]
    assert {attempt.outcome for attempt in variant.attempts[1:]} == {"not tried: out of time"}


def test_an_old_opset_is_raised_for_scales_per_channel():
    subject = residual_classifier(channels=6, blocks=1, size=8, count=12, opset=11)
    variant = quantize(
        subject.graph, subject.calibration, recipes=RECIPES[:1], max_loss=100,
        meter=FixedMeter(0.5),
    )  # fmt: skip
    assert variant.recipe == RECIPES[0]
    assert "opset 11 raised to 13" in variant.notes


def test_a_model_that_is_quantized_already_stays(subject):
    once = quantize(
        subject.graph, subject.calibration, recipes=RECIPES[:1], max_loss=100,
        meter=FixedMeter(0.5),
    )  # fmt: skip
    twice = quantize(once.graph, subject.calibration)
    assert twice.graph is once.graph
    [caveat] = twice.caveats
    assert caveat.kind is WarningKind.NOT_QUANTIZED
    # Nothing of it is fp32, and nothing was slower.
    assert caveat.evidence == "Not quantized: the model is quantized already."
    assert "fp32" not in caveat.advice


def test_without_calibration_inputs_the_error_says_what_to_give(subject):
    with pytest.raises(DataError, match=r"needs calibration inputs.*--calibration"):
        quantize(subject.graph, subject.calibration.subset([]))


def test_one_calibration_input_is_enough_to_try(subject):
    variant = quantize(
        subject.graph, subject.calibration.subset([0]), task="classification", max_loss=100,
        recipes=RECIPES[:1], meter=FixedMeter(0.5),
    )  # fmt: skip
    assert variant.recipe is not None


def test_quantized_outputs_are_close_in_both_layouts(subject):
    feeds = subject.evaluation.feeds(0)
    with open_session(subject.graph.model, SessionOptions()) as session:
        expected = session.run(feeds)["scores"]
    for layout in Layout:
        variant = quantize(
            subject.graph, subject.calibration, max_loss=100, meter=FixedMeter(0.5),
            recipes=(Recipe(layout=layout),),
        )  # fmt: skip
        with open_session(variant.graph.model, SessionOptions()) as session:
            got = session.run(feeds)["scores"]
        assert np.linalg.norm(got - expected) < 0.1 * np.linalg.norm(expected)


def test_on_this_machine_int8_does_not_pay_for_a_tiny_model_and_fp32_stays():
    # 0.08 million MACs: converting to 8 bits and back costs more than it saves, on any CPU.
    tiny = residual_classifier(channels=2, blocks=2, size=8, count=9)
    variant = quantize(tiny.graph, tiny.calibration, recipes=RECIPES[:3], max_loss=100)
    assert variant.recipe is None
    assert variant.graph is tiny.graph
    [caveat] = variant.caveats
    assert caveat.kind is WarningKind.INT8_SLOWER
    assert cpu_instructions() in caveat.evidence
    assert all(attempt.outcome == "not faster than fp32" for attempt in variant.attempts)


@pytest.mark.slow
def test_a_trained_model_loses_at_most_the_budget_on_images_that_no_step_has_seen(tmp_path):
    study_path = materialise("digits", tmp_path)
    study = read_study_file(study_path)
    with open_session(tmp_path / study.model) as session:
        data = open_dataset(study.data, session.inputs, tmp_path)
    split = split_indices(len(data), 150, 200, seed=1, labels=data.labels)
    calibration, evaluation = data.subset(split.calibration), data.subset(split.evaluation)
    graph = prepare(tmp_path / study.model, data.feeds(0))
    variant = quantize(graph, calibration, task="classification", recipes=RECIPES[:4], budget_s=300)
    assert variant.recipe is not None
    chosen = next(one for one in variant.attempts if one.outcome == "chosen")
    assert chosen.ratio is not None
    assert chosen.ratio < 1
    reference = refer(graph.model, evaluation, "classification")
    # One point is allowed; 200 images tell losses apart in steps of half a point.
    loss = evaluate(variant.graph.model, evaluation, "classification", reference).loss
    assert loss <= 1.5


def test_nodes_left_in_float_are_told_by_name_and_what_became_a_range_is_not(subject):
    feeds = [subject.calibration.feeds(index) for index in range(4)]
    builder = Builder(subject.graph, feeds)
    assert float_nodes(builder.build(Recipe()), subject.graph) == ()
    products = float_nodes(builder.build(Recipe(products_only=True)), subject.graph)
    # ONNX Runtime makes block0.add a QLinearAdd: a convolution's range follows its activation.
    assert {"block1.add", "pool"} <= set(products)
    assert "block0.add" not in products
    assert not {"stem", "block0.a", "block1.b", "head"} & set(products)
    one = builder.build(Recipe().without(("block0.a",)))
    assert float_nodes(one, subject.graph)[0] == "block0.a"


def test_what_a_subgraph_reads_comes_before_it():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[1,2,8,8] x, bool c) => (float[1,2,8,8] y)
        <float[2,2,3,3] k = {1,0,0,0,0,0,0,0,0, 0,0,0,0,2,0,0,0,0,
                             0,0,0,0,3,0,0,0,0, 0,0,0,0,0,0,0,0,1}>
        { a = Conv<pads: ints = [1,1,1,1]>(x, k)
          b = If (c) <then_branch = t () => (float[1,2,8,8] s) { s = Add(a, a) },
                      else_branch = e () => (float[1,2,8,8] m) { m = Mul(a, a) }>
          y = Conv<pads: ints = [1,1,1,1]>(b, k) }"""
    )
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 1, 2, 8, 8)).astype(np.float32)
    tensors = TensorSamples(
        arrays={"x": x, "c": np.arange(12) % 2 == 0}, dtypes={"x": "float32", "c": "bool"},
        unbatched=frozenset({"x", "c"}), ids=tuple(map(str, range(12))),
    )  # fmt: skip
    data = Dataset(tensors, description="both branches")
    graph = prepare(model.SerializeToString(), data.feeds(0))
    for recipe in (Recipe(), Recipe(products_only=True)):
        variant = quantize(graph, data, recipes=(recipe,), max_loss=5, meter=FixedMeter(0.5))
        assert variant.recipe == recipe
        assert evaluate(variant.graph.model, data, "any", refer(graph.model, data, "any")).loss < 5


def test_a_model_of_dynamically_quantized_products_is_quantized_already():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[1,4] x) => (int32[1,2] y) <int8[4,2] w = {1,2,3,4,5,6,7,8}>
        { q, scale, zero = DynamicQuantizeLinear(x)
          y = MatMulInteger(q, w, zero) }"""
    )
    graph = prepare(model.SerializeToString())
    tensors = TensorSamples(
        arrays={"x": np.ones((2, 4), np.float32)}, dtypes={"x": "float32"},
        unbatched=frozenset(), ids=("0", "1"),
    )  # fmt: skip
    variant = quantize(graph, Dataset(tensors, description="ones"))
    assert "quantized already" in variant.caveats[0].evidence


def test_activations_that_are_nan_are_no_warning_of_a_library():
    # Warnings are errors in the tests; in a terminal they stood between the lines of a run.
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[1,4] x) => (float[1,2] y) <float[4,2] w = {1,2,3,4,5,6,7,8}>
        { l = Log(x)
          y = MatMul(l, w) }"""
    )
    graph = prepare(model.SerializeToString())
    tensors = TensorSamples(
        arrays={"x": np.full((8, 4), -1, np.float32)}, dtypes={"x": "float32"},
        unbatched=frozenset(), ids=tuple("01234567"),
    )  # fmt: skip
    data = Dataset(tensors, description="below zero")
    assert quantize(graph, data, recipes=RECIPES[:1]).recipe is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("flags\t\t: fpu avx avx2 fma", "AVX2, no VNNI"),
        ("flags\t\t: avx2 avx512bw avx512_vnni", "AVX-512, AVX-512 VNNI"),
        ("Features\t: fp asimd asimddp i8mm", "Arm NEON, Arm I8MM, Arm dot product"),
        ("Features\t: fp asimd", "Arm NEON, no dot product"),
    ],
)
def test_the_cpus_instructions_are_told_in_words(tmp_path, line, words):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert cpu_instructions(tmp_path / "cpuinfo") == words
