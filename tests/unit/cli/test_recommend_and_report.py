import csv
import json

import pytest

from tierwise.testing.results import made_up_results
from tierwise.testing.stored_results import store_results


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    results = made_up_results(
        blocks=30, edge_cloud=("1Mbit", "50Mbit"), requirement={"max_loss": "1"},
        does_not_fit=["mobile/I"],
    )  # fmt: skip
    return store_results(results, tmp_path_factory.mktemp("study") / "s")


def test_recommend_answers_from_the_study_file_s_requirement(tierwise, study):
    code, out, _ = tierwise("recommend", study)
    assert code == 0
    assert "edge/Q" in out
    assert "★" in out


def test_recommend_json_is_pure_json_on_standard_output(tierwise, study):
    code, out, _ = tierwise("recommend", study, "--when", "edge-cloud=50Mbit", "--json")
    answer = json.loads(out)
    assert code == 0
    assert {s["condition"] for s in answer["strategies"]} == {
        "mobile-edge=200 Mbit/s, rtt 2 ms; edge-cloud=50 Mbit/s, rtt 8 ms"
    }


def test_what_a_strategy_takes_besides_time_is_told(tierwise, study):
    _, out, _ = tierwise("recommend", study, "--when", "edge-cloud=50Mbit", "--json")
    told = {s["id"]: s for s in json.loads(out)["strategies"]}
    split = next(s for s in told.values() if len(s["tiers"]) == 2)
    start = split["cold_start_s"]
    assert set(start["load"]) == set(start["first_compute_extra"]) == set(split["tiers"])
    assert start["total"] == pytest.approx(sum(start["load"].values()) + start["first_request"])
    assert split["energy_j"] > 0
    assert told["mobile/I"]["cold_start_s"] is None
    _, out, _ = tierwise("recommend", study, "--when", "edge-cloud=50Mbit")
    assert "cold start" in out
    assert "second" in out
    assert "energy" in out


def test_a_requirement_that_nothing_meets_exits_with_4_after_the_table(tierwise, study):
    code, out, err = tierwise("recommend", study, "--latency", "1ms")
    assert code == 4
    assert "breakdown" in out
    assert "No strategy meets the requirement" in err
    code, out, _ = tierwise("recommend", study, "--latency", "1ms", "--json")
    assert code == 4
    assert json.loads(out)["met"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--latency", "fast"], 2, "is not a duration"),
        (["--when", "edge-cloud=7Mbit"], 2, "no numbers for edge-cloud at 7 Mbit/s"),
        (["--latency", "p99=1s"], 5, "needs at least 459 samples"),
    ],
)
def test_what_cannot_be_answered_has_its_exit_code(tierwise, study, arguments, code, message):
    got, out, err = tierwise("recommend", study, *arguments)
    assert (got, out) == (code, "")
    assert message in " ".join(err.split())


def test_a_folder_without_a_study_is_refused(tierwise, tmp_path):
    code, _, err = tierwise("report", tmp_path)
    assert code == 2
    assert "Error:" in err


def test_report_writes_every_format(tierwise, study, tmp_path):
    code, out, _ = tierwise("report", study, "-o", tmp_path / "r.html")
    assert (code, out.strip()) == (0, str(tmp_path / "r.html"))
    assert tierwise("report", study, "-o", tmp_path, "--format", "csv")[0] == 0
    with (tmp_path / "strategies.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    best = [row for row in rows if row["recommended"] == "true"]
    assert {row["strategy"] for row in best} == {"edge/Q"}
    assert {row["state"] for row in rows if row["strategy"] == "mobile/I"} == {"does not fit"}
    assert tierwise("report", study, "-o", tmp_path, "--format", "latex")[0] == 0
    assert r"\toprule" in (tmp_path / "strategies.tex").read_text()


@pytest.mark.slow
def test_the_markdown_report_has_its_charts_beside_it(tierwise, study, tmp_path):
    assert tierwise("report", study, "-o", tmp_path, "--format", "markdown")[0] == 0
    text = (tmp_path / "report.md").read_text()
    assert "Deploy edge/Q" in text
    for name in ("tradeoff", "breakdown", "boxes", "sweep-edge-cloud"):
        assert f"(figures/{name}.png)" in text
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5_000
        assert "<svg" in (tmp_path / "figures" / f"{name}.svg").read_text()[:200]


def test_a_percentile_that_the_samples_cannot_back_is_refused_with_the_number_needed(
    tierwise, study
):
    for arguments in ((), ("--json",)):
        code, out, err = tierwise("recommend", study, "--latency", "p99=80ms", *arguments)
        assert code == 5
        assert out == ""
        assert "p99 of a trial's latency needs at least 459 samples, but there are 30." in err
        assert "measure more" in err
