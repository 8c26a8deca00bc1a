"""`tierwise early-exit`: what a person sees, what a program reads, and what is written."""

import json

import numpy as np
import pytest
from tests.unit.cli.conftest import write_subject

from tierwise.cli import early_exit
from tierwise.errors import UserError
from tierwise.operators.write import write_model
from tierwise.runtime.session import open_session
from tierwise.testing.subjects import residual_classifier


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subject")
    return write_subject(folder, labels=False, channels=8, blocks=4, size=12, count=32)


def run(files, out, **options):
    early_exit.command(files / "model.onnx", calibration=files / "data.npz", out=out, **options)


def test_the_shortened_model_has_the_same_inputs_and_outputs(files, tmp_path, capsys):
    run(files, tmp_path / "short.onnx", save=(0.2,))
    shown = capsys.readouterr().out
    assert "MACs saved" in shown
    assert "refitted" in shown or "compensation did not help" in " ".join(shown.split())
    with open_session(files / "model.onnx") as whole, open_session(tmp_path / "short.onnx") as cut:
        assert (whole.inputs, whole.outputs) == (cut.inputs, cut.outputs)


def test_several_shares_write_a_front_of_files(files, tmp_path, capsys):
    run(files, tmp_path / "e.onnx", save=(0.2, 0.5), json=True)
    shown = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e-20%.onnx", "e-50%.onnx"]
    assert shown[0]["saved_macs"] < shown[1]["saved_macs"]


def test_a_model_without_blocks_is_told_and_nothing_is_written(tmp_path):
    subject = residual_classifier(channels=8, blocks=0, size=12, count=32)
    write_model(subject.graph.model, tmp_path / "flat.onnx")
    x = np.concatenate([subject.calibration.feeds(i)["x"] for i in range(32)])
    np.savez(tmp_path / "data.npz", x=x)
    with pytest.raises(UserError, match="no repeated block that can be skipped"):
        early_exit.command(
            tmp_path / "flat.onnx", calibration=tmp_path / "data.npz", out=tmp_path / "e.onnx"
        )
    assert not (tmp_path / "e.onnx").exists()
