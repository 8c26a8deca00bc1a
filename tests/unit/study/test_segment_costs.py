"""What a hop is expected to carry: the tensors that cross, and the answer that comes back."""

import numpy as np
import onnx
import pytest

from tierwise.data.source import open_dataset
from tierwise.data.spec import DataSpec
from tierwise.graph.cuts import find_cut
from tierwise.operators.strategy import Operator, Strategy
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import open_session
from tierwise.store.artefacts import Artefacts
from tierwise.store.results import VariantRecord
from tierwise.study.segment_costs import measure_segment_costs
from tierwise.study.segments import make_segments
from tierwise.study.variants import StoredVariant
from tierwise.study.workload import HEADER_BYTES

SCORES = 3 * 64 * 64
TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,1,64,64] x) => (float[1,3,64,64] scores)
<float[3,1,1,1] w>
{
  small = MaxPool<kernel_shape = [4, 4], strides = [4, 4]>(x)
  large = Resize<mode = "nearest">(small, , sizes)
  scores = Conv(large, w)
}
"""


@pytest.mark.parametrize(("task", "answer"), [("any", 4 * SCORES), ("segmentation", SCORES // 3)])
def test_the_answer_counts_as_it_is_sent_back(tmp_path, task, answer):
    model = onnx.parser.parse_model(TEXT)
    for name, values in (
        ("w", np.ones((3, 1, 1, 1), np.float32)), ("sizes", np.array([1, 1, 4, 4], np.float32)),
    ):  # fmt: skip
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    graph = prepare(path)
    with open_session(path) as session:
        data = open_dataset(DataSpec(), session.inputs, tmp_path)
    record = VariantRecord("I", "", path.stat().st_size, 0)
    variant = StoredVariant(record, path, graph)
    cut = find_cut(graph, "small")
    strategy = Strategy(Operator.P, "I", ("mobile", "cloud"), (cut.id,))
    segments = {strategy: make_segments(strategy, variant, Artefacts(tmp_path / "segments"))}
    (costs,) = measure_segment_costs(segments, {"I": variant}, data, task).values()
    assert costs.hop_bytes == (4 * 16 * 16 + HEADER_BYTES + answer + HEADER_BYTES,)
