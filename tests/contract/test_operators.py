"""Every operator keeps the contract, and the contract notices operators that do not."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from tierwise.graph.analysis import Graph
from tierwise.operators.compose import build
from tierwise.operators.early_exit import EarlyExitOptions, early_exit
from tierwise.operators.quantize import RECIPES, Layout, quantize
from tierwise.operators.strategy import Operator
from tierwise.operators.variant import Variant
from tierwise.testing.meters import FixedMeter
from tierwise.testing.operator_contract import OperatorCase, check_operator
from tierwise.testing.subjects import residual_classifier


@pytest.fixture(scope="module")
def subject():
    return residual_classifier(channels=6, blocks=3, size=8, count=48)


def identity(graph, _data, _seed):
    return Variant("I", graph, ("as it is",))


def quantized(recipe):
    def operator(graph, data, seed):
        return quantize(
            graph, data, task="classification", recipes=(recipe,), seed=seed, meter=FixedMeter(0.5)
        )

    return operator


def exited(graph, data, seed, *, compensate=True):
    feeds = [data.feeds(index) for index in range(len(data))]
    options = EarlyExitOptions(save=(0.2,), seed=seed, compensate=compensate)
    return early_exit(graph, feeds, options)[0]


def plainly_exited(graph, data, seed):
    return exited(graph, data, seed, compensate=False)


def exited_and_quantized(graph, data, seed):
    return build(
        Operator.QE,
        graph,
        exit_=lambda one: exited(one, data, seed),
        quantize=lambda one: quantized(RECIPES[0])(one, data, seed),
    ).variant


@pytest.mark.parametrize(
    "operator",
    [
        identity,
        quantized(RECIPES[0]),
        quantized(next(one for one in RECIPES if one.layout is Layout.QOPERATOR)),
    ],
    ids=["identity", "quantize QDQ", "quantize QOperator"],
)
def test_operators_keep_the_contract(subject, operator):
    check_operator(OperatorCase(operator, subject))


@pytest.mark.parametrize(
    "operator",
    [
        pytest.param(exited, id="E"),
        pytest.param(exited_and_quantized, id="QE", marks=pytest.mark.slow),
    ],
)
def test_exits_keep_the_contract_against_plain_skipping(subject, operator):
    check_operator(OperatorCase(operator, subject, control=plainly_exited))


def _edited(graph, edit):
    model = graph.model.clone()
    edit(model)
    return Graph(model)


def renames_an_output(graph, _data, _seed):
    def edit(model):
        model.graph.outputs[0].name = "renamed"

    return Variant("bad", _edited(graph, edit), ("renamed",))


def breaks_the_head_in_silence(graph, _data, _seed):
    def edit(model):
        weight = model.graph.initializers["head.weight"]
        weight.const_value = ir.tensor(-weight.const_value.numpy(), name="head.weight")

    return Variant("bad", _edited(graph, edit), ("negated",))


def breaks_the_head_and_warns(graph, data, seed):
    kept = quantize(graph, data, recipes=RECIPES[:1], max_loss=0, budget_s=0, meter=FixedMeter(0.5))
    return replace(breaks_the_head_in_silence(graph, data, seed), caveats=kept.caveats)


class Undecided:
    """Gives another model every time."""

    def __init__(self):
        self.calls = 0

    def __call__(self, graph, _data, _seed):
        self.calls += 1

        def edit(model):
            bias = model.graph.initializers["head.bias"]
            shifted = bias.const_value.numpy() + np.float32(1e-6 * self.calls)
            bias.const_value = ir.tensor(shifted, name="head.bias")

        return Variant("bad", _edited(graph, edit), ("shifted",))


def changes_its_argument(graph, _data, _seed):
    bias = graph.model.graph.initializers["head.bias"]
    bias.const_value = ir.tensor(bias.const_value.numpy() + np.float32(1e-6), name="head.bias")
    return Variant("bad", graph, ("shifted in place",))


@pytest.mark.parametrize(
    ("operator", "complaint"),
    [
        (renames_an_output, "outputs were .*scores.* and became .*renamed"),
        (breaks_the_head_in_silence, "points of top-1, .* are allowed, and no caveat says so"),
        (Undecided(), "two runs with the same seed gave different models"),
    ],
)
def test_the_contract_notices(subject, operator, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_operator(OperatorCase(operator, subject))


def test_the_contract_notices_a_changed_argument():
    own = residual_classifier(channels=4, blocks=1, size=8, count=4)
    with pytest.raises(AssertionError, match="changed the graph that it was given"):
        check_operator(OperatorCase(changes_its_argument, own))


def test_who_warns_may_be_worse(subject):
    assert breaks_the_head_and_warns(subject.graph, subject.calibration, 0).caveats
    check_operator(OperatorCase(breaks_the_head_and_warns, subject))
