import hashlib
import json
from itertools import pairwise

import numpy as np
import onnxruntime as ort
import pytest

from tierwise.errors import CutError, DataError, UserError
from tierwise.graph.cuts import find_cut, list_cuts
from tierwise.operators.choose_encodings import choose_encodings
from tierwise.operators.encoding import FP16, NONE, Encoding, EncodingCost, Kind, decode, encode
from tierwise.operators.manifest import write_partition
from tierwise.operators.partition import Chain, partition
from tierwise.operators.quantize import RECIPES, quantize
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.testing.subjects import residual_classifier


def over(*bandwidths_bit_per_s):
    """Links of these bandwidths, one for each boundary; ``None``: unlimited."""
    return [
        lambda cost, rate=rate: EncodingCost.crossing_s(cost, rate) for rate in bandwidths_bit_per_s
    ]


@pytest.fixture(scope="module")
def subject():
    return residual_classifier(channels=6, blocks=2, size=8, count=24)


def whole(subject, index=0):
    with open_session(subject.graph.model, SessionOptions(optimisation="none")) as session:
        return session.run(subject.evaluation.feeds(index))


def test_chained_segments_are_the_whole_bit_by_bit(subject):
    cuts = list_cuts(subject.graph)
    for chosen in [[one] for one in cuts] + [list(pair) for pair in pairwise(cuts)]:
        chain = Chain(partition(subject.graph, chosen), SessionOptions(optimisation="none"))
        assert np.array_equal(
            chain.run(subject.evaluation.feeds(0))["scores"], whole(subject)["scores"]
        )


def test_segments_share_out_the_work(subject):
    parts = partition(subject.graph, [find_cut(subject.graph, 0.3), find_cut(subject.graph, 0.7)])
    assert sum(segment.macs for segment in parts.segments) == subject.graph.macs
    assert all(segment.macs > 0 for segment in parts.segments)


def test_the_manifest_and_plain_onnxruntime_are_enough_to_chain(subject, tmp_path):
    cuts = [find_cut(subject.graph, 0.3), find_cut(subject.graph, 0.7)]
    path = write_partition(partition(subject.graph, cuts), tmp_path / "parts")

    manifest = json.loads(path.read_text())
    tensors = subject.evaluation.feeds(0)
    for segment in manifest["segments"]:
        file = path.parent / segment["file"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == segment["sha256"]
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(str(file), options)
        for info in segment["inputs"]:
            assert list(tensors[info["name"]].shape) == info["shape"]
            assert tensors[info["name"]].dtype == info["dtype"]
        names = [info["name"] for info in segment["outputs"]]
        feeds = {info["name"]: tensors[info["name"]] for info in segment["inputs"]}
        tensors = dict(zip(names, session.run(names, feeds), strict=True))
    assert np.array_equal(tensors["scores"], whole(subject)["scores"])


def test_a_new_partition_replaces_the_old_and_leaves_nothing_of_it(subject, tmp_path):
    two = [find_cut(subject.graph, 0.3), find_cut(subject.graph, 0.7)]
    write_partition(partition(subject.graph, two), tmp_path)
    write_partition(partition(subject.graph, two[:1]), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "manifest.json", "segment-0.onnx", "segment-1.onnx",
    ]  # fmt: skip


def test_the_manifest_names_encodings_from_which_the_tensor_can_be_decoded(subject, tmp_path):
    cut = find_cut(subject.graph, 0.5)
    name = cut.tensors[0].name
    encoding = Encoding(Kind.INT8, 0.05, 3, compressed=True)
    path = write_partition(partition(subject.graph, [cut], [{name: encoding}]), tmp_path)
    [boundary] = json.loads(path.read_text())["boundaries"]
    info = boundary["tensors"][0]
    tensor = np.full(info["shape"], 0.5, info["dtype"])
    written = Encoding.parse(info["encoding"])
    back = decode(encode(tensor, written), written, info["shape"], info["dtype"])
    assert np.abs(back - tensor).max() <= 0.025


def test_a_cut_of_a_quantized_graph_puts_one_byte_an_element_on_the_wire(subject):
    class Fast:
        instructions = ""

        def ratio(self, _candidate, _baseline):
            return 0.5

    for recipe in (RECIPES[0], RECIPES[2]):
        variant = quantize(
            subject.graph, subject.calibration, max_loss=100, recipes=(recipe,), meter=Fast()
        )
        cut = find_cut(variant.graph, 0.5)
        assert {tensor.dtype for tensor in cut.tensors} == {"uint8"}
        assert cut.wire_bytes == sum(tensor.elements for tensor in cut.tensors)
        chain = Chain(partition(variant.graph, [cut]), SessionOptions(optimisation="none"))
        with open_session(variant.graph.model, SessionOptions(optimisation="none")) as session:
            feeds = subject.evaluation.feeds(0)
            assert np.array_equal(chain.run(feeds)["scores"], session.run(feeds)["scores"])


def test_an_encoding_for_a_tensor_that_does_not_cross_is_refused(subject):
    cut = find_cut(subject.graph, 0.5)
    with pytest.raises(CutError, match="Tensor 'nobody' does not cross cut"):
        partition(subject.graph, [cut], [{"nobody": FP16}])


def test_on_a_slow_link_the_tensor_is_made_small_and_the_loss_is_measured(subject):
    parts = partition(subject.graph, [find_cut(subject.graph, 0.5)])
    choice = choose_encodings(
        parts, subject.calibration, over(1e5), task="classification", max_loss=20
    )
    [name] = choice.partition.boundaries[0].encodings
    assert choice.partition.boundaries[0].encodings[name].kind is Kind.INT8
    assert choice.loss <= 20
    [chosen] = [trial for trial in choice.trials if trial.chosen]
    assert chosen.loss == choice.loss
    plain = next(trial for trial in choice.trials if trial.cost.encoding == NONE)
    assert chosen.crossing_s < plain.crossing_s


def test_on_an_unlimited_link_nothing_is_encoded(subject):
    parts = partition(subject.graph, [find_cut(subject.graph, 0.5)])
    choice = choose_encodings(parts, subject.calibration, over(None), task="classification")
    assert choice.partition.boundaries[0].encodings == {}
    assert choice.loss == 0


def test_without_any_loss_allowed_only_lossless_encodings_are_used(subject):
    parts = partition(subject.graph, [find_cut(subject.graph, 0.5)])
    choice = choose_encodings(parts, subject.calibration, over(1e5), task="any", max_loss=0)
    for encoding in choice.partition.boundaries[0].encodings.values():
        assert encoding.lossless


def test_the_chooser_refuses_what_it_cannot_do(subject):
    parts = partition(subject.graph, [find_cut(subject.graph, 0.5)])
    with pytest.raises(DataError, match="2 bandwidths for 1 boundaries"):
        choose_encodings(parts, subject.calibration, over(1e6, 1e6))
    with pytest.raises(DataError, match=r"there are none\. Give some: --calibration DIR"):
        choose_encodings(parts, subject.calibration.subset([]), over(1e6))
    with pytest.raises(UserError, match="A loss of -1 points cannot be asked for"):
        choose_encodings(parts, subject.calibration, over(1e6), max_loss=-1)
