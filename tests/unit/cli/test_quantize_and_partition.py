"""`tierwise quantize` and `tierwise partition`: what a person sees and what a program reads."""

import json

import pytest
from PIL import Image
from tests.unit.cli.conftest import write_subject

from tierwise.cli import partition, quantize
from tierwise.cli.calibration import ImageOptions, open_calibration
from tierwise.cli.partition_options import Cutting, Wire
from tierwise.errors import CutError, DataError, UserError
from tierwise.runtime.session import Port, open_session

ONE = "QDQ uint8/int8 per-channel"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subject")
    return write_subject(folder, channels=16, blocks=2, size=16, count=24)


def test_quantize_writes_a_model_and_tells_what_was_tried(files, tmp_path, capsys):
    out = tmp_path / "q.onnx"
    quantize.command(
        files / "model.onnx", calibration=files / "data.npz", out=out, recipe=ONE, max_loss=50
    )
    shown = capsys.readouterr().out
    assert ONE in shown
    assert str(out.name) in shown.replace("\n", "")
    with open_session(out) as session:
        assert [port.name for port in session.outputs] == ["scores"]


def test_quantize_as_json_is_nothing_but_json(files, tmp_path, capsys):
    quantize.command(
        files / "model.onnx", calibration=files / "data.npz", out=tmp_path / "q.onnx",
        recipe=ONE, max_loss=50, json=True,
    )  # fmt: skip
    shown = json.loads(capsys.readouterr().out)
    [attempt] = shown["attempts"]
    assert attempt["recipe"] == ONE
    assert attempt["latency_ratio"] > 0
    assert shown["recipe"] in {ONE, None}  # None: this machine was too busy for it to pay
    assert (shown["recipe"] is None) == any(
        caveat["kind"] == "int8 slower than fp32" for caveat in shown["caveats"]
    )


def test_a_recipe_that_is_not_there_is_told_with_those_that_are(files, tmp_path):
    with pytest.raises(UserError, match=r"There is no recipe 'fast'. Recipes: QDQ uint8/int8"):
        quantize.command(
            files / "model.onnx", calibration=files / "data.npz", out=tmp_path / "q.onnx",
            recipe="fast",
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_calibration_that_is_not_there_is_told(files, tmp_path):
    with pytest.raises(DataError, match=r"There is no folder .*, and it is neither an \.npz nor"):
        quantize.command(
            files / "model.onnx", calibration=tmp_path / "nowhere", out=tmp_path / "q.onnx"
        )


def test_a_folder_of_images_is_resized_to_the_models_input(tmp_path):
    for name in ("red.png", "same.png"):
        Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / name)
    port = Port("x", (1, 3, 8, 16), "float32")
    feeds = open_calibration(tmp_path, (port,), ImageOptions(mean="0.5", std="0.5,1,1")).feeds(0)
    assert feeds["x"].shape == (1, 3, 8, 16)
    assert feeds["x"][0, :, 0, 0] == pytest.approx([1, -0.5, -0.5])


def test_images_for_an_input_that_is_none_are_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "red.png")
    with pytest.raises(DataError, match=r"cannot be told from its shape: tokens \[1, None\]"):
        open_calibration(tmp_path, (Port("tokens", (1, None), "int64"),), ImageOptions())


def test_partition_writes_segments_that_share_out_the_work(files, tmp_path, capsys):
    partition.command(
        files / "model.onnx", cutting=Cutting(3, at="0.3,0.7"), out=tmp_path / "parts"
    )
    assert "segment-2.onnx" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "parts" / "manifest.json").read_text())
    assert [segment["file"] for segment in manifest["segments"]] == [
        "segment-0.onnx", "segment-1.onnx", "segment-2.onnx",
    ]  # fmt: skip


def test_partition_chooses_an_encoding_for_a_slow_link(files, tmp_path, capsys):
    partition.command(
        files / "model.onnx", cutting=Cutting(at="0.5"), out=tmp_path / "parts", json=True,
        wire=Wire("auto", ["100kbit"], files / "data.npz", max_loss=50),
    )  # fmt: skip
    shown = json.loads(capsys.readouterr().out)
    [chosen] = [one for one in shown["encodings"] if one["chosen"]]
    assert chosen["encoding"].startswith("int8(")
    manifest = json.loads((tmp_path / "parts" / "manifest.json").read_text())
    assert manifest["boundaries"][0]["tensors"][0]["encoding"] == chosen["encoding"]


@pytest.mark.parametrize(("encode", "text"), [("fp16", "fp16"), ("zstd", "none+zstd")])
def test_one_encoding_for_all_is_written_to_the_manifest(files, tmp_path, encode, text):
    partition.command(
        files / "model.onnx", cutting=Cutting(at="0.5"), out=tmp_path, wire=Wire(encode)
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["boundaries"][0]["tensors"][0]["encoding"] == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Where to cut must be said once. Give --cut ID"),
        ({"cutting": Cutting(cut=["a"], at="0.5")}, "Where to cut must be said once"),
        ({"cutting": Cutting(1, at="0.5")}, "1 tiers need no partition"),
        ({"cutting": Cutting(3, at="0.5")}, "3 tiers need 2 cuts, but 1 were given"),
        (
            {"cutting": Cutting(at="0.5"), "wire": Wire("auto")},
            "Add --calibration DIR and --bandwidth 10Mbit",
        ),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_written(files, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        partition.command(files / "model.onnx", out=tmp_path / "parts", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_cut_that_is_none_is_told(files, tmp_path):
    with pytest.raises(CutError, match="There is no cut or tensor 'layer9'"):
        partition.command(
            files / "model.onnx", out=tmp_path / "parts", cutting=Cutting(cut=["layer9"])
        )
    assert list(tmp_path.iterdir()) == []
