import json

import pytest
from tests.unit.cli.conftest import write_subject


@pytest.fixture
def planned(tmp_path, tierwise):
    """Plans a study over these bandwidths; gives what it prints on both streams."""
    folder = write_subject(tmp_path, channels=8, blocks=1, size=8, count=16)

    def plan(rates, *flags):
        study = folder / "study.yaml"
        study.write_text(
            "model: model.onnx\ndata: {npz: data.npz}\noperators: [I, P]\n"
            "quality: {calibration: 4, evaluation: 4}\n"
            f"links: {{edge-cloud: {{bandwidth: {rates}, rtt: 20ms}}}}\n"
        )
        code, out, err = tierwise("run", study, "--plan", *flags)
        assert code == 0
        assert not (tmp_path / "study-results").exists()
        return out, " ".join(err.split())

    return plan


def test_a_plan_lists_its_networks_and_says_how_to_run_it(planned):
    out, err = planned("[1Mbit, 10Mbit]")
    assert "edge-cloud=1 Mbit/s, rtt 20 ms" in out
    assert "edge-cloud=10 Mbit/s, rtt 20 ms" in out
    assert "Run it: tierwise run " in err
    assert err.endswith("-o study-results")


def test_many_networks_of_a_plan_are_told_by_link(planned):
    rates = "[1Mbit, 2Mbit, 3Mbit, 4Mbit, 5Mbit, 6Mbit, 7Mbit]"
    lines = planned(rates)[0].splitlines()
    at = lines.index("under 7 network conditions, every one of")
    text = " ".join(" ".join(lines[at:]).split())
    assert "mobile-edge: 200 Mbit/s, rtt 5 ms edge-cloud: 1 Mbit/s, rtt 20 ms; 2 Mbit/s" in text
    assert len(json.loads(planned(rates, "--json")[0])["conditions"]) == 7
