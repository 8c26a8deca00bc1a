"""Data sets of images, tensors and nothing; every mismatch is told with names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tierwise.data.source import DataSpec, open_dataset
from tierwise.errors import DataError


@dataclass(frozen=True)
class Input:
    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"


IMAGE = (Input("x", (1, 3, 8, 10)),)


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (10, 8)) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 0, 0)).save(folder / name)


def spec(**settings: object) -> DataSpec:
    return DataSpec.model_validate(settings)


def test_images_with_a_csv(tmp_path: Path):
    write_images(tmp_path / "images", ["b.png", "a.png", "sub/c.png"])
    (tmp_path / "labels.csv").write_text("file,label\nb.png,1\nsub/c.png,2\na.png,0\n")
    data = open_dataset(spec(images="images", labels="labels.csv"), IMAGE, tmp_path)
    assert len(data) == 3
    assert data.ids == ("a.png", "b.png", "sub/c.png")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2]
    assert data.payload(1) == (tmp_path / "images/b.png").read_bytes()
    assert data.feeds(1)["x"].shape == (1, 3, 8, 10)
    assert data.feeds(2)["x"][0, 0, 0, 0] == 2
    assert not data.random


def test_a_subset_keeps_order_and_labels_and_can_be_cut_again(tmp_path: Path):
    write_images(tmp_path, [f"{label}/{i}.png" for label in "012" for i in range(4)])
    data = open_dataset(spec(images=".", labels="folders"), IMAGE, tmp_path)
    some = data.subset([9, 1, 4])
    assert some.ids == ("2/1.png", "0/1.png", "1/0.png")
    assert some.labels is not None
    assert some.labels.tolist() == [2, 0, 1]
    assert some.subset([2]).ids == ("1/0.png",)
    assert some.payload(0) == data.payload(9)


def test_folders_of_names_are_classes_in_sorted_order(tmp_path: Path):
    write_images(tmp_path, ["dog/1.png", "cat/1.png", "ant/1.png"])
    data = open_dataset(spec(images=".", labels="folders"), IMAGE, tmp_path)
    assert data.class_names == ("ant", "cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2]


def test_folders_of_numbers_are_class_ids(tmp_path: Path):
    write_images(tmp_path, ["2/1.png", "10/1.png"])
    data = open_dataset(spec(images=".", labels="folders"), IMAGE, tmp_path)
    assert data.labels is not None
    assert sorted(data.labels.tolist()) == [2, 10]


def test_images_without_labels(tmp_path: Path):
    write_images(tmp_path, ["1.png"])
    assert open_dataset(spec(images="."), IMAGE, tmp_path).labels is None


def test_masks_follow_the_geometry_of_the_images(tmp_path: Path):
    write_images(tmp_path / "images", ["a.jpg", "b.jpg"], size=(20, 16))
    (tmp_path / "masks").mkdir()
    for number, name in enumerate(["a.png", "b.png"]):
        Image.fromarray(np.full((16, 20), number + 3, np.uint8)).save(tmp_path / "masks" / name)
    data = open_dataset(
        spec(images="images", masks="masks", preprocess={"resize": [8, 10]}), IMAGE, tmp_path
    )
    assert data.labels is not None
    assert data.labels.shape == (2, 8, 10)
    assert data.labels.dtype == np.uint8
    assert data.labels[:, 0, 0].tolist() == [3, 4]


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path):
    write_images(tmp_path / "images", ["a.png"])
    (tmp_path / "masks").mkdir()
    Image.new("L", (5, 5)).save(tmp_path / "masks/a.png")
    with pytest.raises(DataError, match=r"mask 'a.png' is 5x5, its image 'a.png' 8x10"):
        open_dataset(spec(images="images", masks="masks"), IMAGE, tmp_path)


def test_a_coloured_mask_is_refused(tmp_path: Path):
    write_images(tmp_path / "images", ["a.png"])
    write_images(tmp_path / "masks", ["a.png"])
    with pytest.raises(DataError, match="pixels of type 'RGB'; one channel of 8 bits"):
        open_dataset(spec(images="images", masks="masks"), IMAGE, tmp_path)


def test_an_empty_folder(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/readme.txt").write_text("no image")
    with pytest.raises(DataError, match="holds no images"):
        open_dataset(spec(images="images"), IMAGE, tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(DataError, match="There is no folder"):
        open_dataset(spec(images="imagse"), IMAGE, tmp_path)


def test_labels_that_do_not_match_are_named_a_few_at_a_time(tmp_path: Path):
    write_images(tmp_path / "images", [f"{i}.png" for i in range(6)])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,1\nghost.png,1\n")
    with pytest.raises(DataError) as caught:
        open_dataset(spec(images="images", labels="labels.csv"), IMAGE, tmp_path)
    assert "5 without a label: '1.png', '2.png', '3.png' and 2 more" in caught.value.message
    assert "1 labelled but not there: 'ghost.png'" in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\na.png,1\n", "columns name, class; `file` and `label` are required"),
        ("", r"columns \(none\); `file` and `label` are required"),
        ("file,label\na.png,cat\n", "Line 2 of .* labels 'a.png' with 'cat'; a class id"),
        ("file,label\na.png\n", "Line 2 of .* labels 'a.png' with ''"),
        ("file,label\na.png,1\na.png,2\n", "Line 3 of .* it was labelled 1 before"),
    ],
)
def test_a_csv_that_cannot_be_used(tmp_path: Path, text: str, message: str):
    write_images(tmp_path / "images", ["a.png"])
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset(spec(images="images", labels="labels.csv"), IMAGE, tmp_path)


def test_a_csv_that_is_not_there_or_not_text(tmp_path: Path):
    write_images(tmp_path / "images", ["a.png"])
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("none.csv", "bytes.csv"):
        with pytest.raises(DataError, match="cannot be read"):
            open_dataset(spec(images="images", labels=name), IMAGE, tmp_path)


def test_loose_images_beside_class_folders(tmp_path: Path):
    write_images(tmp_path, ["cat/1.png", "2.png"])
    with pytest.raises(DataError, match=r"1 images lie in .* itself: '2\.png'"):
        open_dataset(spec(images=".", labels="folders"), IMAGE, tmp_path)


def test_images_that_do_not_fit_the_model_say_expected_and_got(tmp_path: Path):
    write_images(tmp_path, ["a.png"])
    inputs = (Input("pixels", (None, 3, 224, 224)),)
    with pytest.raises(
        DataError,
        match=r"'a.png' becomes float32 \[1, 3, 8, 10\], but the model's input 'pixels' is "
        r"float32 \[any, 3, 224, 224\]",
    ):
        open_dataset(spec(images="."), inputs, tmp_path)


def test_images_for_a_model_of_a_fixed_batch_say_what_to_export(tmp_path: Path):
    write_images(tmp_path, ["a.png"])
    inputs = (Input("pixels", (8, 3, 8, 10)),)
    with pytest.raises(DataError, match=r"takes batches of 8 only.*export it with a free batch"):
        open_dataset(spec(images="."), inputs, tmp_path)


def test_a_later_image_of_another_shape_is_named_when_it_is_asked_for(tmp_path: Path):
    write_images(tmp_path, ["a.png"])
    write_images(tmp_path, ["b.png"], size=(9, 9))
    data = open_dataset(spec(images="."), IMAGE, tmp_path)
    with pytest.raises(DataError, match=r"'b.png' becomes float32 \[1, 3, 9, 9\]"):
        data.feeds(1)


def test_free_sizes_take_any_image(tmp_path: Path):
    write_images(tmp_path, ["a.png"])
    data = open_dataset(spec(images="."), (Input("x", (None, 3, None, None)),), tmp_path)
    assert data.feeds(0)["x"].shape == (1, 3, 8, 10)


def test_a_corrupt_image_is_named(tmp_path: Path):
    (tmp_path / "bad.png").write_bytes(b"oops")
    with pytest.raises(DataError, match=r"The image 'bad\.png' cannot be decoded"):
        open_dataset(spec(images="."), IMAGE, tmp_path)


def test_an_image_that_vanished_is_named(tmp_path: Path):
    write_images(tmp_path, ["a.png", "b.png"])
    data = open_dataset(spec(images="."), IMAGE, tmp_path)
    (tmp_path / "b.png").unlink()
    with pytest.raises(DataError, match=r"'b\.png' of .* cannot be read"):
        data.payload(1)


def test_images_do_not_feed_a_model_with_two_inputs(tmp_path: Path):
    write_images(tmp_path, ["a.png"])
    with pytest.raises(DataError, match="this one has 2: a, b"):
        open_dataset(spec(images="."), (Input("a", (1,)), Input("b", (1,))), tmp_path)


TWO = (Input("ids", (None, 7), "int64"), Input("scale", (1,)))


def test_tensors_with_labels(tmp_path: Path):
    ids = np.arange(35, dtype=np.int32).reshape(5, 7)
    np.savez(tmp_path / "t.npz", ids=ids, scale=np.ones((5,)), labels=np.arange(5, dtype=np.uint8))
    data = open_dataset(spec(npz="t.npz"), TWO, tmp_path)
    assert len(data) == 5
    feeds = data.feeds(2)
    assert feeds["ids"].tolist() == [[14, 15, 16, 17, 18, 19, 20]]
    assert feeds["ids"].dtype == np.int64
    assert feeds["scale"].shape == (1,)
    assert feeds["scale"].dtype == np.float32
    assert data.labels is not None
    assert data.subset([3]).labels.tolist() == [3]
    payload = data.payload(2)
    assert isinstance(payload, dict)
    assert payload.keys() == feeds.keys()


def test_tensors_of_a_higher_rank_hold_whole_inputs(tmp_path: Path):
    np.savez(tmp_path / "t.npz", x=np.zeros((4, 2, 3), dtype=np.float32), s=np.ones(4))
    inputs = (Input("x", (2, 3)), Input("s", (), "float32"))
    data = open_dataset(spec(npz="t.npz"), inputs, tmp_path)
    assert data.feeds(0)["x"].shape == (2, 3)
    assert data.feeds(0)["s"].shape == ()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": np.zeros((5, 7), int)}, "holds the arrays ids; the model's inputs are ids, scale"),
        (
            {"ids": np.zeros((5, 7), int), "scale": np.ones(5), "extra": np.ones(5)},
            "holds the arrays extra, ids, scale",
        ),
        (
            {"ids": np.zeros((5, 8), int), "scale": np.ones(5)},
            r"'ids' of t.npz is int64 \[5, 8\]; for the model's input int64 \[any, 7\]",
        ),
        ({"ids": np.zeros((5, 7)), "scale": np.ones(5)}, r"'ids' of t.npz is float64 \[5, 7\]"),
        (
            {"ids": np.zeros((5, 7), int), "scale": np.ones(4)},
            "different numbers of samples, or none: ids 5, scale 4",
        ),
        (
            {"ids": np.zeros((5, 7), int), "scale": np.ones(5), "labels": np.ones(5)},
            r"`labels` of t.npz is float64 \[5\]",
        ),
        (
            {"ids": np.zeros((5, 7), int), "scale": np.ones(5), "labels": np.zeros(3, int)},
            "labels 3",
        ),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_dataset(spec(npz="t.npz"), TWO, tmp_path)


def test_files_that_are_no_npz(tmp_path: Path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 not really")
    np.save(tmp_path / "b.npy", np.ones(3))
    for name in ("a.npz", "missing.npz"):
        with pytest.raises(DataError, match=r"cannot be read as an \.npz"):
            open_dataset(spec(npz=name), TWO, tmp_path)
    with pytest.raises(DataError, match="holds a single array"):
        open_dataset(spec(npz="b.npy"), TWO, tmp_path)


def test_pickled_objects_are_refused(tmp_path: Path):
    np.savez(tmp_path / "t.npz", ids=np.array([object()], dtype=object))
    with pytest.raises(DataError, match=r"cannot be read as an \.npz"):
        open_dataset(spec(npz="t.npz"), TWO, tmp_path)


def test_random_input_is_the_same_every_time_and_says_that_it_is_random(tmp_path: Path):
    inputs = (
        Input("image", (None, 3, None, None)),
        Input("ids", (None, None), "int64"),
        Input("flags", (2,), "bool"),
        Input("pixels", (1, 4, 4, 3), "uint8"),
    )
    first, again = (open_dataset(spec(), inputs, tmp_path) for _ in range(2))
    assert first.random
    assert "random" in first.description
    assert first.labels is None
    for name, shape in {
        "image": (1, 3, 224, 224), "ids": (1, 32), "flags": (2,), "pixels": (1, 4, 4, 3),
    }.items():  # fmt: skip
        array = first.feeds(0)[name]
        assert array.shape == shape
        np.testing.assert_array_equal(array, again.feeds(0)[name])
    assert set(np.unique(first.feeds(0)["ids"])) <= {0, 1}
    assert first.feeds(0)["image"].dtype == np.float32
    assert not np.array_equal(first.feeds(0)["image"], first.feeds(1)["image"])


def test_random_input_takes_the_sizes_that_are_given(tmp_path: Path):
    inputs = (Input("x", (None, 3, None, None)),)
    data = open_dataset(spec(sizes={"x": [1, 3, 64, 96]}), inputs, tmp_path)
    assert data.feeds(0)["x"].shape == (1, 3, 64, 96)
    with pytest.raises(DataError, match=r"shape \[1, 4, 64, 96\]; the model wants \[any, 3, any"):
        open_dataset(spec(sizes={"x": [1, 4, 64, 96]}), inputs, tmp_path)
    with pytest.raises(DataError, match="`sizes` names y; the model's inputs are x"):
        open_dataset(spec(sizes={"y": [1]}), inputs, tmp_path)


def test_there_is_no_random_text(tmp_path: Path):
    with pytest.raises(DataError, match="no random input"):
        open_dataset(spec(), (Input("text", (1,), "str"),), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "a", "npz": "b"}, "not both"),
        ({"labels": "a.csv"}, "belong to `images`"),
        ({"images": "a", "labels": "b", "masks": "c"}, "not both"),
        ({"images": "a", "sizes": {"x": [1]}}, "`sizes` shapes random input"),
        ({"image": "a"}, "Extra inputs"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        DataSpec.model_validate(settings)
