"""How every command ends where something is wrong with what it was given."""

import numpy as np
import onnx
import pytest
from tests.unit.cli.conftest import write_subject


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_subject(tmp_path_factory.mktemp("subject"), channels=8, blocks=1, size=8, count=8)


def said(err):
    return " ".join(err.split())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: \xff.onnx", "byte 7 is not UTF-8 text. Next: Save it as UTF-8"),
        (b"model: nope.onnx", "names the model 'nope.onnx', but there is no file"),
        (b"model: m\nmeasure: {samples: 0}", "measure.samples is 0; it must be at least"),
        (b"model: m\nrequire: {max_loss: lots}", "require.max_loss: 'lots' is not a number."),
    ],
)
def test_a_study_file_that_cannot_be_used(tierwise, tmp_path, content, message):
    (tmp_path / "study.yaml").write_bytes(content)
    code, out, err = tierwise("run", tmp_path / "study.yaml", "-o", tmp_path / "results")
    assert (code, out) == (2, "")
    assert message in said(err)
    assert not (tmp_path / "results" / "tierwise.db").exists()


def test_a_folder_for_a_study_file_names_the_file_in_it(tierwise, tmp_path):
    (tmp_path / "study.yaml").write_text("model: m.onnx")
    code, _, err = tierwise("run", tmp_path)
    assert code == 2
    assert f"Give the file in it: {tmp_path / 'study.yaml'}." in said(err)


@pytest.mark.parametrize("command", ["quantize", "early-exit"])
def test_long_work_is_not_begun_for_a_file_that_cannot_be_written(tierwise, files, command):
    options = ("--calibration", files / "data.npz", "-o", files / "model.onnx" / "out.onnx")
    code, out, err = tierwise(command, files / "model.onnx", *options)
    assert (code, out) == (2, "")
    assert "model.onnx/out.onnx' cannot be used: not a directory. Next: " in said(err)


def test_a_file_where_a_folder_has_to_be_is_told_with_the_file(tierwise, files):
    arguments = ("partition", files / "model.onnx", "--at", "0.5", "-o", files / "data.npz")
    code, out, err = tierwise(*arguments)
    assert (code, out) == (2, "")
    assert f"'{files / 'data.npz'}' cannot be used: file exists." in said(err)
    with np.load(files / "data.npz") as kept:
        assert "x" in kept.files


def test_one_input_cannot_fit_and_judge(tierwise, files, tmp_path):
    with np.load(files / "data.npz") as data:
        np.savez(tmp_path / "one.npz", x=data["x"][:1])
    options = ("--calibration", tmp_path / "one.npz", "-o", tmp_path / "q.onnx")
    code, out, err = tierwise("quantize", files / "model.onnx", *options)
    assert (code, out) == (2, "")
    assert "one.npz holds 1 input; two at least are needed" in said(err)
    assert not (tmp_path / "q.onnx").exists()


def test_a_text_file_for_an_npz_is_not_said_to_be_dangerous(tierwise, files, tmp_path):
    (tmp_path / "bad.npz").write_text("label,x")
    options = ("--calibration", tmp_path / "bad.npz", "-o", tmp_path / "q.onnx")
    code, _, err = tierwise("quantize", files / "model.onnx", *options)
    assert code == 2
    assert "it holds something else than arrays of numbers. Next: Save it with" in said(err)


def test_a_model_that_lacks_an_input_is_one_error_and_no_warnings(tierwise, files, tmp_path):
    broken = onnx.load(files / "model.onnx")
    broken.graph.node[-1].input[0] = "gone"
    onnx.save(broken, tmp_path / "broken.onnx")
    code, _, err = tierwise("inspect", tmp_path / "broken.onnx")
    assert code == 2
    assert said(err).startswith("Error:")
    assert "reads 'gone', which nothing produces" in said(err)


def test_a_model_to_serve_that_is_none_is_named(tierwise, tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    options = ("--listen", "127.0.0.1:0", "--cache", tmp_path / "cache")
    code, _, err = tierwise("serve", *options, "--model", f"a={tmp_path / 'text.onnx'}")
    assert code == 2
    assert f"Model a={tmp_path / 'text.onnx'}: The file is not ONNX" in said(err)
    assert "Next: Change --model NAME=FILE.onnx, or --provider." in said(err)


def test_a_demo_of_what_does_not_come_with_it_names_what_does(tierwise, tmp_path):
    code, _, err = tierwise("demo", "--subject", "cats", "-o", tmp_path / "demo")
    assert code == 2
    assert "Choose one of digits, scenes." in said(err)
    assert not (tmp_path / "demo").exists()
