"""`tierwise partition MODEL --best study.yaml`: tiers, cuts and encodings out of a study file."""

import json

import numpy as np
import pytest
from tests.unit.cli.conftest import write_subject

from tierwise.cli import partition
from tierwise.cli.partition_options import Cutting, ForStudy
from tierwise.errors import CutError, RequirementNotMet, UserError
from tierwise.operators.encoding import Encoding
from tierwise.operators.partition import crossed
from tierwise.runtime.session import open_session

STUDY = """\
model: elsewhere.onnx
task: classification
data: {npz: data.npz}
tiers: {mobile: {cpus: MOBILE}, edge: {cpus: 0.5MEMORY}, cloud: {cpus: 1.0MEMORY}}
links: {mobile-edge: {bandwidth: NEAR}, edge-cloud: {bandwidth: FAR}}
operators: {use: [I, P], partition: {max_loss: 100}}
quality: {calibration: 12, evaluation: 12}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("best")
    return write_subject(folder, channels=16, blocks=3, size=16, count=24)


@pytest.fixture
def best(folder, tmp_path, capsys):
    """Runs the command for these tiers and links; gives its JSON and the manifest."""

    def run(
        mobile="0.25", near="50Mbit", far="10Mbit", memory="", *, cutting=None, wire=None, **options
    ):
        study = folder / "study.yaml"
        text = STUDY.replace("{cpus: MOBILE}", f"{{cpus: {mobile}MEMORY}}")
        text = text.replace("MEMORY", memory).replace("NEAR", near).replace("FAR", far)
        study.write_text(text)
        partition.command(
            folder / "model.onnx",
            out=tmp_path / "out",
            study=ForStudy(study, **options),
            cutting=cutting,
            wire=wire,
            json=True,
        )
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        return json.loads(capsys.readouterr().out), manifest

    return run


def test_no_bandwidth_to_speak_of_keeps_the_model_in_one_piece_on_the_first_tier(best):
    said, manifest = best(near="1kbit", far="1kbit")
    assert said["tiers"] == ["mobile"]
    assert said["proven_optimal"]
    assert [segment["tier"] for segment in manifest["segments"]] == ["mobile"]
    assert manifest["boundaries"] == []


def test_a_slow_first_tier_that_must_keep_the_input_is_cut_and_the_segments_chain(
    best, folder, tmp_path
):
    said, manifest = best(mobile="0.001", near="20Mbit", private="raw-input")
    assert said["tiers"][0] == "mobile"
    assert len(said["tiers"]) > 1
    assert said["proven_optimal"]
    assert said["bound_s"] <= said["latency_s"]
    assert [segment["tier"] for segment in manifest["segments"]] == said["tiers"]
    with np.load(folder / "data.npz") as content:
        tensors = {"x": content["x"][:1]}
    with open_session(folder / "model.onnx") as session:
        whole = session.run(tensors)["scores"]
    for segment, boundary in zip(
        manifest["segments"], [*manifest["boundaries"], None], strict=True
    ):
        with open_session(tmp_path / "out" / segment["file"]) as session:
            tensors = session.run(tensors)
        if boundary is not None:
            ways = {one["name"]: Encoding.parse(one["encoding"]) for one in boundary["tensors"]}
            tensors = crossed(tensors, ways)
    assert np.abs(tensors["scores"] - whole).max() <= 0.1 * np.abs(whole).max()


def test_at_most_so_many_tiers_are_used(best):
    said, _ = best(mobile="0.01", near="10Gbit", far="10Gbit", cutting=Cutting(1))
    assert said["tiers"] == ["cloud"]


def test_what_the_answer_is_worth_is_said(best, folder, tmp_path, capsys):
    best()
    study = folder / "study.yaml"
    partition.command(folder / "model.onnx", out=tmp_path / "o", study=ForStudy(study))
    shown = " ".join(capsys.readouterr().out.split())
    assert "Predicted latency" in shown
    assert "proven optimal for the times measured here." in shown


def test_a_sweep_needs_one_of_its_networks(best):
    with pytest.raises(UserError, match="has 2 networks, and the best partition depends on which"):
        best(far="[1Mbit, 10Mbit]")
    said, _ = best(far="[1Mbit, 10Mbit]", when="edge-cloud=1Mbit")
    assert "1 Mbit/s" in said["condition"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"cutting": Cutting(at="0.5")},
            UserError,
            "--at and --best: cuts, links and data come from the study",
        ),
        ({"cutting": Cutting(4)}, UserError, "--tiers 4: the study has 3 tiers"),
        ({"private": "nowhere"}, CutError, "no node or tensor 'nowhere'"),
    ],
)
def test_what_cannot_be_asked_for_is_told(best, options, error, message):
    with pytest.raises(error, match=message):
        best(**options)


def test_tiers_that_cannot_hold_the_weights_are_told(best):
    with pytest.raises(RequirementNotMet, match="fits no placement"):
        best(memory=", memory: 1KiB")
