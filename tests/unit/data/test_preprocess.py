"""Pre-processing against values computed by hand and against the reference recipes."""

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tierwise.data.preprocess import Preprocess
from tierwise.errors import DataError


def encode(pixels: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_scale_mean_and_std_are_applied_per_channel_in_scaled_units():
    pixels = np.array([[[255, 51, 0], [102, 204, 153]]], dtype=np.uint8)
    got = Preprocess(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.1)).apply(
        encode(pixels)
    )
    # by hand: 255 -> 1, 51 -> 0.2, 102 -> 0.4, 204 -> 0.8, 153 -> 0.6
    expected = np.array([[[[1.0, -0.2]], [[-0.8, 1.6]], [[-3.0, 3.0]]]])
    assert got.shape == (1, 3, 1, 2)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_bgr_reverses_the_channels_and_nhwc_keeps_them_last():
    pixels = noise(4, 5)
    got = Preprocess(color="BGR", layout="NHWC", dtype="uint8").apply(encode(pixels))
    np.testing.assert_array_equal(got, pixels[np.newaxis, :, :, ::-1])
    assert got.flags.c_contiguous


def test_grey_has_one_channel():
    pixels = noise(4, 5, channels=1)
    got = Preprocess(color="L").apply(encode(pixels))
    np.testing.assert_array_equal(got, pixels[np.newaxis, np.newaxis].astype(np.float32))


def test_transparency_is_dropped():
    pixels = np.dstack([noise(3, 3), np.zeros((3, 3), dtype=np.uint8)])
    got = Preprocess(layout="NHWC", dtype="uint8").apply(encode(pixels))
    np.testing.assert_array_equal(got[0], pixels[:, :, :3])


@pytest.mark.parametrize(("height", "width"), [(300, 401), (401, 300), (256, 256)])
@pytest.mark.parametrize("side", [224, 240, 260])
def test_efficientnet_lite_recipe(height: int, width: int, side: int):
    pixels = noise(height, width)
    got = Preprocess(
        crop_ratio=side / (side + 32),
        resize=(side, side),
        interpolation="bicubic",
        mean=127,
        std=128,
    ).apply(encode(pixels))
    crop = int(side / (side + 32) * min(height, width))
    top, left = (height - crop + 1) // 2, (width - crop + 1) // 2
    cropped = Image.fromarray(pixels[top : top + crop, left : left + crop])
    resized = np.asarray(cropped.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
    np.testing.assert_array_equal(got[0], ((resized - 127) / 128).transpose(2, 0, 1))


def test_imagenet_recipe_short_side_then_crop():
    pixels = noise(301, 423)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    got = Preprocess(
        resize=256, crop=(224, 224), scale=1 / 255, mean=tuple(mean), std=tuple(std)
    ).apply(encode(pixels))
    # torchvision: the long side is int(256 * 423 / 301) = 359
    resized = np.asarray(Image.fromarray(pixels).resize((359, 256), Image.Resampling.BILINEAR))
    steps = (got[0].transpose(1, 2, 0) * std + mean) * 255 - resized[16:240, 68:292]
    assert_almost_all_same(np.rint(steps))
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


def assert_almost_all_same(steps: np.ndarray) -> None:
    """Of an 8-bit scale: none further off than two, at most one in a hundred at all."""
    assert np.abs(steps).max() <= 2
    assert np.count_nonzero(steps) <= steps.size / 100


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("height", "width"), [(240, 320), (700, 333), (90, 101)])
@pytest.mark.parametrize("crop", [(97, 61), (150, 150), (1, 150)])
def test_what_a_crop_drops_is_not_needed_for_what_it_keeps(
    interpolation: str, height: int, width: int, crop: tuple[int, int]
):
    image = Image.fromarray(noise(height, width))
    recipe = Preprocess.model_validate(
        {"resize": 150, "crop": crop, "interpolation": interpolation, "layout": "NHWC",
         "dtype": "uint8"}
    )  # fmt: skip
    resampling = Image.Resampling[interpolation.upper()]
    long_side = 150 * max(height, width) // min(height, width)
    size = (long_side, 150) if width > height else (150, long_side)
    whole = np.asarray(image.resize((size[0], height), resampling).resize(size, resampling))
    top, left = (size[1] - crop[0] + 1) // 2, (size[0] - crop[1] + 1) // 2
    cut = whole[top : top + crop[0], left : left + crop[1]].astype(int)
    got = recipe.apply(encode(np.asarray(image)))[0].astype(int)
    assert_almost_all_same(got - cut)
    if interpolation == "nearest":
        np.testing.assert_array_equal(got, cut)


def test_integers_are_rounded_and_clipped():
    pixels = np.array([[0, 100, 255]], dtype=np.uint8)
    got = Preprocess(color="L", mean=128, dtype="int8", scale=1.3).apply(encode(pixels))
    assert got.ravel().tolist() == [-128, 2, 127]


def test_a_mask_gets_the_geometry_of_its_image_without_new_class_ids():
    mask = np.zeros((60, 80), dtype=np.uint8)
    mask[:, 40:] = 7
    recipe = Preprocess(resize=(30, 40), crop=(20, 20), interpolation="bicubic")
    got = recipe.apply_to_mask(mask)
    assert got.shape == recipe.apply(encode(np.dstack([mask] * 3))).shape[2:]
    assert set(np.unique(got)) == {0, 7}
    assert (got[:, 10:] == 7).all()


@pytest.mark.parametrize("encoded", [b"", b"not an image", encode(noise(40, 40))[:300]])
def test_a_corrupt_image_is_named(encoded: bytes):
    with pytest.raises(DataError, match=r"'cat\.png' cannot be decoded as an image"):
        Preprocess().apply(encoded, name="'cat.png'")


def test_sixteen_bit_images_are_refused_rather_than_clipped():
    deep = encode(np.full((4, 4), 40000, dtype=np.uint16))
    with pytest.raises(DataError, match="8 bits a channel are required"):
        Preprocess().apply(deep)


def test_a_crop_larger_than_the_image_says_both_sizes():
    with pytest.raises(DataError, match=r"is 8x9 \(height x width\).*crop: \[10, 10\]"):
        Preprocess(crop=(10, 10)).apply(encode(noise(8, 9)))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mean": [0.1, 0.2]}, "mean has 2 numbers, but color RGB has 3"),
        ({"color": "L", "std": [1, 1, 1]}, "std has 3 numbers, but color L has 1"),
        ({"std": 0}, "std is 0"),
        ({"resize": 0}, "greater than 0"),
        ({"colour": "RGB"}, "Extra inputs are not permitted"),
        ({"interpolation": "cubic"}, "'nearest', 'bilinear' or 'bicubic'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], text: str):
    with pytest.raises(ValidationError, match=text):
        Preprocess.model_validate(settings)


def test_recipes_stay_equal_once_they_were_used():
    used, other = (Preprocess(mean=(1.0, 2.0, 3.0)) for _ in range(2))
    for recipe in (used, other):
        recipe.apply(encode(noise(4, 4)))
        assert recipe == Preprocess(mean=(1.0, 2.0, 3.0))
    assert used == other
    assert used != Preprocess()
    assert len({used, other}) == 1


def test_every_field_is_described_in_the_schema():
    properties = Preprocess.model_json_schema()["properties"]
    assert all("description" in one for one in properties.values())
