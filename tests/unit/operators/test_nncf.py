"""The second back end. Without the extra `nncf` these tests skip, visibly."""

import builtins
import sys

import numpy as np
import onnx
import pytest

from tierwise.errors import MissingExtra, UserError
from tierwise.operators.quantize import (
    NNCF_RECIPES,
    Backend,
    Calibration,
    Layout,
    Recipe,
    quantize,
    recipes_named,
)
from tierwise.operators.quantize.build import Builder, CannotQuantize
from tierwise.operators.quantize.integer_nodes import float_nodes
from tierwise.runtime.materialise import model_bytes
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.testing.meters import FixedMeter
from tierwise.testing.operator_contract import OperatorCase, check_operator
from tierwise.testing.subjects import residual_classifier


@pytest.fixture(scope="module")
def subject():
    return residual_classifier(channels=6, blocks=2, size=8, count=36)


@pytest.fixture
def builder(subject):
    pytest.importorskip("nncf", reason="the extra `nncf` is not installed")
    return Builder(subject.graph, [subject.calibration.feeds(index) for index in range(6)])


def int8_weights(content):
    return [
        onnx.numpy_helper.to_array(one)
        for one in onnx.load_from_string(content).graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1
    ]


def test_nncf_keeps_the_contract_of_operators(subject):
    pytest.importorskip("nncf", reason="the extra `nncf` is not installed")

    def operator(graph, data, seed):
        return quantize(
            graph, data, task="classification", recipes=NNCF_RECIPES[:1], seed=seed,
            meter=FixedMeter(0.5), max_loss=3,
        )  # fmt: skip

    check_operator(OperatorCase(operator, subject, max_loss=3))
    assert operator(subject.graph, subject.calibration, 0).recipe == NNCF_RECIPES[0]


def test_opset_and_ir_version_stay_and_nothing_is_printed(subject, builder, capfd):
    before = onnx.load_from_string(model_bytes(subject.graph.model))
    after = onnx.load_from_string(builder.build(NNCF_RECIPES[0]))
    assert after.ir_version == before.ir_version
    assert after.opset_import == before.opset_import
    assert capfd.readouterr().out == ""


def test_its_answers_are_close_and_its_7_bit_weights_have_7_bits(subject, builder):
    feeds = subject.evaluation.feeds(0)
    with open_session(subject.graph.model, SessionOptions()) as session:
        expected = session.run(feeds)["scores"]
    for recipe in NNCF_RECIPES:
        content = builder.build(recipe)
        with open_session(content, SessionOptions()) as session:
            got = session.run(feeds)["scores"]
        assert np.linalg.norm(got - expected) < 0.1 * np.linalg.norm(expected)
        weights = int8_weights(content)
        assert weights
        assert max(np.abs(one.astype(int)).max() for one in weights) <= (
            64 if recipe.reduce_range else 128
        )


def test_it_computes_convolutions_and_sums_on_integers_and_leaves_the_output_in_float(
    subject, builder
):
    assert float_nodes(builder.build(NNCF_RECIPES[0]), subject.graph) == ("head",)


def test_excluded_nodes_stay_in_float_and_only_means_only(subject, builder):
    one = builder.build(NNCF_RECIPES[0].without(("block0.a",)))
    assert float_nodes(one, subject.graph)[0] == "block0.a"
    [alone] = int8_weights(builder.build(NNCF_RECIPES[0], only=("stem",)))
    assert alone.shape == tuple(subject.graph.tensors["stem.weight"].shape)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(backend=Backend.NNCF, layout=Layout.QOPERATOR),
        Recipe(backend=Backend.NNCF, calibration=Calibration.ENTROPY),
        Recipe(backend=Backend.NNCF, products_only=True),
    ],
)
def test_what_nncf_does_not_have_cannot_be_built(builder, recipe):
    with pytest.raises(CannotQuantize, match=r"NNCF's quantizer fails: NNCF (makes|has|chooses)"):
        builder.build(recipe)


def test_without_the_extra_the_error_says_what_to_install(subject, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.partition(".")[0] == "nncf":
            raise ModuleNotFoundError("No module named 'nncf'", name="nncf")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.delitem(sys.modules, "nncf", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'tierwise\[nncf\]'"):
        quantize(subject.graph, subject.calibration, recipes=NNCF_RECIPES)


def test_recipes_are_found_by_name_whoever_builds_them():
    name = "NNCF QDQ uint8/int8 per-channel"
    assert recipes_named(name) == (NNCF_RECIPES[0],)
    assert recipes_named("auto", "nncf") == NNCF_RECIPES
    with pytest.raises(UserError, match=r"no recipe 'fast'.*NNCF QDQ"):
        recipes_named("fast")
