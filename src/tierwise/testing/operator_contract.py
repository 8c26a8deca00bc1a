"""What every operator owes its users, as a suite that anyone's operator can be put through.

Use it in a test::

    from tierwise.testing.operator_contract import OperatorCase, check_operator

    def test_my_operator_keeps_the_contract():
        subject = residual_classifier()
        case = OperatorCase(lambda graph, data, seed: my_operator(graph, data, seed=seed), subject)
        check_operator(case)

Each check can be run alone, too; all raise :class:`AssertionError` with what was expected.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from tierwise.data.source import Dataset
from tierwise.graph.analysis import Graph
from tierwise.operators.variant import Variant
from tierwise.quality.evaluate import evaluate, refer
from tierwise.quality.task import Task
from tierwise.runtime.materialise import model_bytes
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.testing.subjects import TestSubject

Operator = Callable[[Graph, Dataset, int], Variant]
"""From a graph, calibration data and a seed to a variant."""


@dataclass(frozen=True)
class OperatorCase:
    """An operator and what it is tried on.

    Attributes:
        operator: It must look at nothing but its arguments.
        subject: A graph with calibration and evaluation data.
        control: What the operator must not be worse than: what one would do without it at the
            same saving. ``None``: the original itself.
        max_loss: Points that the operator may lose against the control without a caveat.
        task: What the subject's outputs mean.
    """

    operator: Operator
    subject: TestSubject
    control: Operator | None = None
    max_loss: float = 1.0
    task: Task = "classification"


def check_operator(case: OperatorCase) -> None:
    """Run every check below; raises :class:`AssertionError` at the first that fails."""
    before = model_bytes(case.subject.graph.model)
    first = case.operator(case.subject.graph, case.subject.calibration, 0)
    assert model_bytes(case.subject.graph.model) == before, (
        "the operator changed the graph that it was given; transform a clone"
    )
    check_valid(first)
    check_interface(case.subject.graph, first)
    check_runs(case.subject, first)
    check_deterministic(case, first)
    check_never_worse_in_silence(case, first)


def check_valid(variant: Variant) -> None:
    """The output is valid ONNX, by ONNX's own checker and by a session, and says what was done."""
    content = model_bytes(variant.graph.model)
    onnx.checker.check_model(content, full_check=_standard_only(content))
    open_session(content, SessionOptions(optimisation="none")).close()
    assert variant.name, "a variant has a name"
    assert variant.notes, "a variant's notes say what was done, or why nothing was"


def _standard_only(content: bytes) -> bool:
    """Whether ONNX's shape inference knows every operator."""
    model = onnx.load_from_string(content)
    return all(node.domain in {"", "ai.onnx"} for node in model.graph.node)


def check_interface(original: Graph, variant: Variant) -> None:
    """Inputs and outputs keep their names, order, element types and ranks."""
    for side in ("inputs", "outputs"):
        before = [(one.name, one.dtype, len(one.shape)) for one in getattr(original, side)]
        after = [(one.name, one.dtype, len(one.shape)) for one in getattr(variant.graph, side)]
        assert after == before, f"{side} were {before} (name, type, rank) and became {after}"


def check_runs(subject: TestSubject, variant: Variant) -> None:
    """Real inputs give outputs of the original's shapes, without a value that is no number."""
    with (
        open_session(subject.graph.model, SessionOptions()) as original,
        open_session(variant.graph.model, SessionOptions()) as changed,
    ):
        for index in range(min(4, len(subject.evaluation))):
            feeds = subject.evaluation.feeds(index)
            expected, got = original.run(feeds), changed.run(feeds)
            for name, value in expected.items():
                assert got[name].shape == value.shape, (
                    f"output {name} of input {index} was {value.shape}, became {got[name].shape}"
                )
                if np.issubdtype(value.dtype, np.floating) and np.isfinite(value).all():
                    assert np.isfinite(got[name]).all(), (
                        f"output {name} of input {index} has values that are not finite"
                    )


def check_deterministic(case: OperatorCase, first: Variant) -> None:
    """The same arguments give the same bytes."""
    second = case.operator(case.subject.graph, case.subject.calibration, 0)
    assert model_bytes(second.graph.model) == model_bytes(first.graph.model), (
        "two runs with the same seed gave different models; draw from a generator of the seed, "
        "and never iterate over a set"
    )


def check_never_worse_in_silence(case: OperatorCase, variant: Variant) -> None:
    """On data that no step has seen it is no worse than its control, or a caveat says so."""
    data = case.subject.evaluation
    reference = refer(case.subject.graph.model, data, case.task)
    figure = evaluate(variant.graph.model, data, case.task, reference)
    allowed = case.max_loss
    if case.control is not None:
        control = case.control(case.subject.graph, case.subject.calibration, 0)
        allowed += evaluate(control.graph.model, data, case.task, reference).loss
    # What the data can tell apart: one input more or less is no finding.
    allowed += 100 / len(data)
    assert figure.loss <= allowed or variant.caveats, (
        f"it loses {figure.loss:.2f} points of {figure.metric}, {allowed:.2f} are allowed, and no "
        "caveat says so"
    )
