"""Sessions: what they take, what they give, and what they say."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tierwise.errors import DataError, EnvironmentFault, ModelError
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions, _options, open_session

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[n,2] x, int64[1] k) => (float[n,2] y)
{
  f = Cast<to: int = 1>(k)
  y = Mul(x, f)
}
"""


def model() -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(TEXT))


def test_a_session_tells_its_inputs_and_outputs_and_runs_by_name() -> None:
    with open_session(model()) as session:
        assert [(p.name, p.shape, p.dtype) for p in session.inputs] == [
            ("x", (None, 2), "float32"),
            ("k", (1,), "int64"),
        ]
        result = session.run({"x": np.ones((3, 2), np.float32), "k": np.array([4])})
    np.testing.assert_array_equal(result["y"], np.full((3, 2), 4, np.float32))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.ones((3, 2)), "Input 'x' must be float32 of shape .x2, but is float64 of shape 3x2"),
        (np.ones((3, 5), np.float32), "of shape 3x5"),
        (np.ones(2, np.float32), "of shape 2"),
    ],
)
def test_a_wrong_input_is_named_with_what_is_required(x: np.ndarray, text: str) -> None:
    with open_session(model()) as session, pytest.raises(DataError, match=text):
        session.run({"x": x, "k": np.array([4])})


def test_a_missing_input_is_named() -> None:
    with open_session(model()) as session, pytest.raises(DataError, match="takes the inputs"):
        session.run({"k": np.array([4])})


def test_an_unknown_provider_is_an_environment_fault() -> None:
    with pytest.raises(EnvironmentFault, match="has no NoSuchProvider"):
        open_session(model(), SessionOptions(providers=("NoSuchProvider",)))


def test_bytes_that_are_no_model_are_a_model_error() -> None:
    with pytest.raises(ModelError, match="ONNX Runtime cannot execute the model"):
        open_session(b"not a model")


def test_free_sizes_are_assumed_and_said() -> None:
    graph = prepare(model())
    assert graph.inputs[0].shape == (1, 2)
    assert graph.notes == ("Free sizes were assumed: x: 1x2.",)


def test_free_sizes_come_from_a_real_input_where_there_is_one() -> None:
    graph = prepare(model(), {"x": np.ones((7, 2), np.float32), "k": np.array([1])})
    assert (graph.outputs[0].shape, graph.notes) == ((7, 2), ())
    assert graph.model.graph.inputs[0].shape is not None
    assert not graph.model.graph.inputs[0].shape.is_static()


def test_threads_of_a_session_sleep_soon_after_a_run() -> None:
    # Two threads that look out for work as long as ONNX Runtime lets them (30 ms of CPU and more
    # after each run here) would take the core from the tier that computes next.
    spin = _options(SessionOptions(threads=2)).get_session_config_entry(
        "session.intra_op.spin_duration_us"
    )
    assert 0 < int(spin) <= 1000


def test_an_input_that_fitted_once_is_still_told_from_one_that_does_not() -> None:
    with open_session(model()) as session:
        for _ in range(2):
            session.run({"x": np.ones((3, 2), np.float32), "k": np.array([4])})
            with pytest.raises(DataError, match="is float64"):
                session.run({"x": np.ones((3, 2)), "k": np.array([4])})
            with pytest.raises(DataError, match="shape 3x5"):
                session.run({"x": np.ones((3, 5), np.float32), "k": np.array([4])})
