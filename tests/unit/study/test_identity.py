"""A results directory goes on with the same contents, wherever they lie, and with no others."""

import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from tierwise.study.file import StudyFile
from tierwise.study.identity import identity_of
from tierwise.study.subject import open_subject

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,3,32,32] x) => (float[1,3] y)
<float[3072,3] w>
{
  f = Flatten(x)
  y = MatMul(f, w)
}
"""


def weights(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3072, 3)).astype(np.float32)


def identity(folder, **changes):
    study = StudyFile.model_validate({"model": "model.onnx", **changes})
    return identity_of(study, open_subject(study, folder))


@pytest.fixture
def folder(tmp_path):
    """A model with its weights in another file, an npz and a folder of images."""
    model = onnx.parser.parse_model(TEXT)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights(0), "w"))
    onnx.save(
        model, tmp_path / "model.onnx", save_as_external_data=True, location="model.onnx.data"
    )
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((40, 3, 32, 32)).astype(np.float32))
    (tmp_path / "images").mkdir()
    for index in range(40):
        pixels = rng.integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
    return tmp_path


IMAGES = {"images": "images", "preprocess": {"scale": 0.0039}}


def test_other_weights_are_another_study_though_the_onnx_file_is_the_same(folder):
    before = identity(folder)
    (folder / "model.onnx.data").write_bytes(weights(1).tobytes())
    assert identity(folder) != before


def test_other_tensors_are_another_study_though_they_are_as_many(folder):
    before = identity(folder, data={"npz": "data.npz"})
    with np.load(folder / "data.npz") as stored:
        np.savez(folder / "data.npz", x=stored["x"] + 1)
    assert identity(folder, data={"npz": "data.npz"}) != before


def test_another_image_of_the_same_name_is_another_study(folder):
    before = identity(folder, data=IMAGES)
    shutil.copy(folder / "images" / "1.png", folder / "images" / "0.png")
    assert identity(folder, data=IMAGES) != before


def test_files_that_were_moved_are_the_same_study(folder):
    before = identity(folder, data=IMAGES)
    (folder / "images").rename(folder / "pictures")
    onnx.save(onnx.load(folder / "model.onnx", load_external_data=False), folder / "renamed.onnx")
    assert identity(folder, model="renamed.onnx", data={**IMAGES, "images": "pictures"}) == before


def test_how_a_real_tier_lets_the_study_in_may_change(folder):
    cloud = {"url": "https://a", "token_env": "OLD"}
    files = {"ca": "new.pem", "client_cert": "a.pem", "client_key": "a.key"}
    before = identity(folder, tiers={"cloud": cloud})
    assert identity(folder, tiers={"cloud": {**cloud, **files, "token_env": "NEW"}}) == before
    assert identity(folder, tiers={"cloud": {**cloud, "threads": 2}}) != before
