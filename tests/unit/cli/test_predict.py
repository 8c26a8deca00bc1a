import json

import pytest

from tierwise.testing.results import made_up_results
from tierwise.testing.stored_results import store_results


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    results = made_up_results(
        blocks=30, edge_cloud=("1Mbit", "50Mbit"), requirement={"max_loss": "2"},
        does_not_fit=["mobile/I"],
    )  # fmt: skip
    return store_results(results, tmp_path_factory.mktemp("study") / "s")


def test_an_unmeasured_network_is_predicted_and_said_to_be(tierwise, study):
    code, out, _ = tierwise("predict", study, "--when", "edge-cloud=25Mbit,rtt=30ms")
    text = " ".join(out.split())
    assert code == 0
    assert "predicted median" in text
    assert "Nothing was measured there" in text
    assert "edge-cloud 25 Mbit/s, rtt 30 ms" in text


def test_json_tells_predicted_from_measured_and_has_the_crossovers(tierwise, study):
    code, out, _ = tierwise("predict", study, "--when", "edge-cloud=25Mbit,rtt=1ms", "--json")
    answer = json.loads(out)
    assert code == 0
    assert [c["predicted"] for c in answer["conditions"]] == [True]
    states = {s["id"]: s["state"] for s in answer["strategies"]}
    assert states["edge/QE"] == "predicted"
    assert states["mobile/I"] == "does not fit"
    numbers = next(s for s in answer["strategies"] if s["id"] == "cloud/QE")["latency_s"]
    assert numbers["n"] == 0
    assert numbers["p50_interval"][0] < numbers["p50"] < numbers["p50_interval"][1]
    crossover = next(c for c in answer["crossovers"] if c["link"] == "edge-cloud")
    assert crossover["low_bit_per_s"] < crossover["bandwidth_bit_per_s"]
    assert (crossover["below"], crossover["above"]) == ("edge/QE", "cloud/QE")
    assert "choose edge/QE, above it cloud/QE" in crossover["text"]


def test_a_measured_condition_shows_what_was_measured(tierwise, study):
    code, out, _ = tierwise("predict", study, "--when", "edge-cloud=50Mbit", "--json")
    answer = json.loads(out)
    assert code == 0
    assert [c["predicted"] for c in answer["conditions"]] == [False]
    assert {s["state"] for s in answer["strategies"]} == {"measured", "does not fit"}


def test_a_requirement_that_no_prediction_meets_exits_with_4(tierwise, study):
    flags = ("--when", "edge-cloud=25Mbit", "--latency", "1ms")
    code, out, err = tierwise("predict", study, *flags)
    assert code == 4
    assert "no strategy is predicted to meet" in " ".join(out.split())
    assert "No strategy meets the requirement" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--when", "edge-moon=25Mbit"], "There is no link 'edge-moon' in this study"),
        (["--when", "edge-cloud"], "does not say when"),
        (["--when", "edge-cloud=0Mbit"], "lets nothing through"),
        (["--when", "edge-cloud=fast"], "is not a bandwidth"),
    ],
)
def test_what_cannot_be_understood_is_refused(tierwise, study, arguments, message):
    code, out, err = tierwise("predict", study, *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_recommend_points_to_predict_for_a_network_without_numbers(tierwise, study):
    code, _, err = tierwise("recommend", study, "--when", "edge-cloud=7Mbit,rtt=30ms")
    assert code == 2
    assert '`tierwise predict DIR --when "edge-cloud=7Mbit,rtt=30ms"`' in " ".join(err.split())
