import numpy as np
import pytest

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.errors import UserError
from tierwise.graph.cuts import find_cut
from tierwise.operators.compose import build
from tierwise.operators.early_exit import EarlyExitOptions, early_exit
from tierwise.operators.partition import Chain
from tierwise.operators.quantize import RECIPES, quantize
from tierwise.operators.strategy import Operator
from tierwise.operators.variant import Variant
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.testing.meters import FixedMeter
from tierwise.testing.subjects import residual_classifier


@pytest.fixture(scope="module")
def subject():
    return residual_classifier(channels=6, blocks=4, size=8, count=24)


def test_the_order_is_exit_then_quantize_then_cut_and_notes_follow_it(subject):
    seen = []

    def step(name):
        def transform(graph):
            seen.append(name)
            warning = ResultWarning(WarningKind.FEW_INPUTS, name, "", "")
            return Variant(name, graph, (f"did {name}",), (warning,))

        return transform

    def cuts(graph):
        seen.append("cut")
        return [find_cut(graph, 0.5)]

    built = build(Operator.QEP, subject.graph, exit_=step("E"), quantize=step("Q"), cuts=cuts)
    assert seen == ["E", "Q", "cut"]
    assert built.variant.name == "QE"
    assert built.variant.notes == ("did E", "did Q")
    assert [caveat.subject for caveat in built.variant.caveats] == ["E", "Q"]
    assert built.partition is not None
    assert len(built.partition.segments) == 2


def test_qep_puts_uint8_on_the_wire_and_chains_to_the_whole_variant(subject):
    feeds = [subject.calibration.feeds(index) for index in range(len(subject.calibration))]
    built = build(
        Operator.QEP,
        subject.graph,
        exit_=lambda graph: early_exit(graph, feeds, EarlyExitOptions(save=(0.2,)))[0],
        quantize=lambda graph: quantize(
            graph, subject.calibration, recipes=RECIPES[:1], max_loss=100, meter=FixedMeter(0.5)
        ),
        cuts=lambda graph: [find_cut(graph, 0.5)],
    )
    assert built.partition is not None
    assert built.variant.graph.macs < subject.graph.macs
    [boundary] = built.partition.boundaries
    assert {tensor.dtype for tensor in boundary.cut.tensors} == {"uint8"}
    off = SessionOptions(optimisation="none")
    with open_session(built.variant.graph.model, off) as whole:
        feeds = subject.evaluation.feeds(0)
        expected = whole.run(feeds)["scores"]
        assert np.array_equal(Chain(built.partition, off).run(feeds)["scores"], expected)


def test_the_identity_is_the_subject(subject):
    built = build(Operator.I, subject.graph)
    assert built.variant.graph is subject.graph
    assert built.partition is None


@pytest.mark.parametrize(
    ("operator", "missing"),
    [(Operator.Q, "quantize"), (Operator.E, "exit_"), (Operator.P, "cuts")],
)
def test_a_step_that_is_not_given_is_named(subject, operator, missing):
    with pytest.raises(UserError, match=f"needs `{missing}`. Give build"):
        build(operator, subject.graph)
