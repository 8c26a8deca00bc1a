import pytest
import yaml

from tierwise.operators.quantize.latency import comparing_s, side_by_side
from tierwise.study import estimate
from tierwise.study.run import outline_study
from tierwise.zoo.subjects import materialise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return materialise("digits", tmp_path_factory.mktemp("digits")).parent


@pytest.fixture
def estimated(folder, tmp_path, monkeypatch):
    """Seconds that a study of one whole core is expected to take, by an inference's time."""

    def told(one_s, operators):
        content = yaml.safe_load((folder / "study.yaml").read_text())
        content |= {
            "model": str(folder / "model.onnx"),
            "tiers": {"edge": {"cpus": 1.0}},
            "links": {},
            "operators": operators,
            "quality": {"calibration": 100, "evaluation": 100},
            "measure": {"strategies": "all", "samples": 10},
            "require": {},
        }
        content["data"] |= {"images": str(folder / "images"), "labels": str(folder / "labels.csv")}
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
        monkeypatch.setattr(estimate, "time_inference", lambda *_, **__: (one_s, {}))
        return outline_study(tmp_path / "study.yaml").estimate_s

    return told


def test_requests_and_evaluations_take_what_an_inference_takes(estimated):
    # 100 evaluations, 10 requests and 5 to warm up, beside what does not depend on the model.
    assert estimated(0.02, ["I"]) == pytest.approx(10 + (100 + 10 + 5) * 0.02, rel=0.01)
    assert estimated(0.2, ["I"]) == pytest.approx(10 + (100 + 10 + 5) * 0.2, rel=0.01)


def test_recipes_take_their_budget_at_most(estimated):
    with_q = {"use": ["I", "Q"], "quantize": {"budget": "4s"}}
    assert estimated(0.02, with_q) - estimated(0.02, ["I"]) == pytest.approx(115 * 0.02 + 4)
    quick = estimated(0.001, with_q) - estimated(0.001, ["I"]) - 115 * 0.001
    # Twelve of them, each built and compared in 43 pairs.
    assert quick == pytest.approx(12 * (0.2 + 0.02 * 2.51 + 43 * 0.0019), rel=0.02)
    single = {"use": ["I", "Q"], "quantize": {"recipe": "QOperator uint8/uint8"}}
    one = estimated(0.001, single) - estimated(0.001, ["I"]) - 115 * 0.001
    assert one == pytest.approx(quick / 12)


def test_every_block_is_a_model_to_try(estimated):
    more = estimated(0.02, ["I", "E"]) - estimated(0.02, ["I"]) - 115 * 0.02
    assert more == pytest.approx(2 * 19 * (0.05 + 0.005 * 2.51 + 32 * 0.02), rel=0.01)


@pytest.mark.parametrize("seconds", [0.001, 0.03, 0.5])
def test_a_comparison_takes_as_long_as_is_said(seconds, monkeypatch):
    now = [0.0]

    def run(_index):
        now[0] += seconds
        return seconds

    monkeypatch.setattr("tierwise.operators.quantize.latency.time.perf_counter", lambda: now[0])
    side_by_side(run, run)
    assert now[0] == pytest.approx(comparing_s(2 * seconds), rel=0.1)
