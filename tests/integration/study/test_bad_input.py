"""Everything that a person can get wrong: its message, its exit code, and nothing left behind."""

import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, save
from PIL import Image

from tierwise.cli.app import main


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs the command in this process; gives its exit code and what it said."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["tierwise", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return ended.value.code, " ".join(said.err.split())

    return command


def edit(study, old, new):
    text = study.read_text()
    assert old in text
    study.write_text(text.replace(old, new))


def custom_operator(path):
    node = helper.make_node("Magic", ["x"], ["y"], domain="com.example")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def not_onnx(study):
    (study.parent / "model.onnx").write_bytes(b"<html>404</html>" * 50)


def missing_model(study):
    (study.parent / "model.onnx").unlink()


def with_custom_operator(study):
    custom_operator(study.parent / "model.onnx")


def empty_images(study):
    (study.parent / "images").mkdir()
    edit(study, "npz: data.npz", "images: images")


def wrong_labels(study):
    images = study.parent / "images"
    images.mkdir()
    for name in "ab":
        Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(images / f"{name}.png")
    (study.parent / "labels.csv").write_text("file,label\na.png,1\nzebra.png,2\n")
    edit(study, "npz: data.npz", "images: images, labels: labels.csv")


def label_beyond_the_classes(study):
    arrays = dict(np.load(study.parent / "data.npz"))
    arrays["labels"] = arrays["labels"] + 90
    np.savez(study.parent / "data.npz", **arrays)


def no_class_map(study):
    edit(study, "task: classification", "task: segmentation")


def unknown_tier(study):
    edit(study, "mobile-cloud:", "mobile-clowd:")


def fast_bandwidth(study):
    edit(study, "[20Mbit, 100Mbit]", "fast")


def impossible_cut(study):
    edit(study, "operators:\n", "operators:\n  partition: {cut: c1}\n")


def unknown_cut(study):
    edit(study, "operators:\n", "operators:\n  partition: {cut: layer9}\n")


def unknown_recipe(study):
    edit(study, "quantize: {budget", "quantize: {recipe: int3, budget")


def unknown_exit(study):
    edit(study, "operators:\n", "operators:\n  early_exit: {from: x1, to: nowhere}\n")


def percentile_without_samples(study):
    edit(study, "{max_loss: 100}\n", "{max_loss: 100, latency: p99=80ms}\n")


def unset_token(study):
    edit(study, "{bandwidth: [20Mbit, 100Mbit], rtt: 2ms}", "{}")
    edit(study, "cloud: {cpus: 1.0}", "cloud: {url: 'http://127.0.0.1:9', token_env: NO_SUCH_VAR}")


def one_input(study):
    arrays = {name: array[:1] for name, array in np.load(study.parent / "data.npz").items()}
    np.savez(study.parent / "data.npz", **arrays)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (not_onnx, "is not a"),
        (missing_model, "names the model 'model.onnx', but there is no file"),
        (with_custom_operator, "com.example"),
        (empty_images, "images"),
        (wrong_labels, "zebra.png"),
        (label_beyond_the_classes, "none of the model's 5 classes"),
        (no_class_map, "The task is segmentation, which needs labels that are masks"),
        (unknown_tier, "Did you mean `mobile-cloud`?"),
        (fast_bandwidth, "'fast' is not a bandwidth"),
        (impossible_cut, "leaves 'x1' behind"),
        (unknown_cut, "There is no cut or tensor 'layer9'"),
        (unknown_recipe, "There is no recipe 'int3'"),
        (unknown_exit, "There is no tensor 'nowhere' that an exit could use"),
        (percentile_without_samples, "p99 needs 459 samples of a strategy"),
        (unset_token, "NO_SUCH_VAR, which is not set"),
        (one_input, "calibration and evaluation never share one"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_input_is_told_and_ends_with_2(subject, tmp_path, run, spoil, message):
    spoil(subject)
    code, said = run("--quiet", "run", subject, "-o", tmp_path / "out")
    assert message in said
    assert code == 2
    assert "Next:" in said
    assert not (tmp_path / "out").exists(), "refused only after something was begun"


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        ("{cpus: 1.0, providers: [NoSuchExecutionProvider]}", "no NoSuchExecutionProvider"),
        ("{cpus: 200}", "Tier cloud asks for 200 CPUs, and this machine has"),
    ],
)
def test_what_this_machine_cannot_do_is_told_before_anything_is_built(
    subject, tmp_path, run, tier, message
):
    edit(subject, "{cpus: 1.0}", tier)
    code, said = run("--quiet", "run", subject, "-o", tmp_path / "out")
    assert code == 3
    assert message in said
    assert "Next:" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_elses_is_refused(subject, tmp_path, run):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    code, said = run("--quiet", "run", subject, "-o", tmp_path / "out", "--fresh")
    assert (code, "thesis.tex" in said) == (2, True)
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_init_does_not_write_over_a_file_and_what_it_writes_can_be_planned(subject, run, tmp_path):
    model, data = subject.parent / "model.onnx", subject.parent / "data.npz"
    code, said = run("init", model, "-o", subject)
    assert (code, "--force" in said) == (2, True)
    code, _ = run("init", model, "-o", tmp_path / "new.yaml", "--data", data)
    assert code == 0
    code, _ = run("run", tmp_path / "new.yaml", "--plan")
    assert code == 0
