"""A model that cannot be cut: its partitions are left out with the reason, the rest is measured."""

import onnx
import pytest

from tierwise.store.results import TrialState
from tierwise.study.run import run_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]

ONE_LAYER = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,64] x) => (float[1,10] y)
<float[64,10] w>
{
  y = MatMul(x, w)
}
"""
STUDY = """\
model: model.onnx
tiers: {mobile: {cpus: 0.5}, cloud: {cpus: 1.0}}
links: {mobile-cloud: {bandwidth: 100Mbit, rtt: 1ms}}
operators: [I, P]
measure: {samples: 4, strategies: all}
"""


def test_a_model_of_one_layer_is_measured_whole(tmp_path):
    model = onnx.parser.parse_model(ONE_LAYER)
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [64, 10], [0.5] * 640)
    model.graph.initializer.append(weight)
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "study.yaml").write_text(STUDY)
    results = run_study(tmp_path / "study.yaml", tmp_path / "out")
    states = {trial.strategy.id: trial.state for trial in results.trials}
    assert states["mobile/I"] is states["cloud/I"] is TrialState.MEASURED
    [cut] = [trial for trial in results.trials if trial.strategy.operator.partitions]
    assert cut.state is TrialState.LEFT_OUT
    assert cut.reason == "the model cannot be cut with work on both sides"
