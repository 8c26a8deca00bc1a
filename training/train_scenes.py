"""Train, export and record the zoo's segmenter.

    python training/train_scenes.py [--out src/tierwise/zoo/assets]

Writes ``scenes.onnx``, ``scenes.zip`` (images and masks) and ``scenes.json`` (the record).
"""

import argparse
import io
import json
import zipfile
from pathlib import Path

import tierwise  # noqa: F401 - before ONNX Runtime, whose telemetry it switches off

# isort: split
import numpy as np
import onnxruntime
import torch
from digit_images import Digits, split_digits
from networks import Segmenter
from PIL import Image
from recipe import export, fit, fix
from scene_images import BACKGROUND, SIDE, scene, textures
from torch import Tensor, nn

from tierwise.data.preprocess import Preprocess

SEED = 30
THREADS = 1
SHIPPED = 220
STAMP = (2026, 1, 1, 0, 0, 0)
PREPROCESS = Preprocess(color="RGB", scale=1 / 255, mean=0.5, std=0.25)


class Batches:
    """New scenes of training digits on training photographs for every batch."""

    def __init__(self, digits: Digits, easy_batches: int) -> None:
        self.easy_batches, self.made = easy_batches, 0
        self.digits, self.photographs = digits, textures(training=True)
        self.generator = np.random.default_rng(SEED)

    def __call__(self, size: int) -> tuple[Tensor, Tensor]:
        self.made += 1
        difficulty = min(1.0, self.made / self.easy_batches)
        made = [
            scene(self.digits, self.photographs, self.generator, difficulty) for _ in range(size)
        ]
        images = np.stack([image for image, _ in made]).transpose(0, 3, 1, 2)
        batch = (torch.from_numpy(images).float() / 255 - 0.5) / 0.25
        return batch, torch.from_numpy(np.stack([classes for _, classes in made])).long()


def encode(pixels: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": 90} if form == "JPEG" else {"optimize": True}
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def ship(digits: Digits, path: Path) -> None:
    generator, photographs = np.random.default_rng(SEED + 1), textures(training=False)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(SHIPPED):
            image, classes = scene(digits, photographs, generator)
            for name, content in (
                (f"images/{number:04d}.jpg", encode(image, "JPEG")),
                (f"masks/{number:04d}.png", encode(classes, "PNG")),
            ):
                archive.writestr(zipfile.ZipInfo(name, STAMP), content)


def mean_iou(model: Path, archive: Path) -> float:
    """Percent, over the pixels of all scenes together, 11 classes, as a user gets it."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    counts = np.zeros((11, 11), dtype=np.int64)
    with zipfile.ZipFile(archive) as stored:
        for number in range(SHIPPED):
            truth = np.asarray(Image.open(io.BytesIO(stored.read(f"masks/{number:04d}.png"))))
            feed = {"image": PREPROCESS.apply(stored.read(f"images/{number:04d}.jpg"))}
            guess = session.run(None, feed)[0][0].argmax(axis=0)
            pairs = 11 * truth.ravel().astype(int) + guess.ravel()
            counts += np.bincount(pairs, minlength=121).reshape(11, 11)
    inter = np.diag(counts)
    return 100 * float(np.mean(inter / (counts.sum(0) + counts.sum(1) - inter)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("src/tierwise/zoo/assets"))
    options = parser.parse_args()
    fix(SEED, THREADS)
    training, shipped = split_digits()
    model = Segmenter()
    # Nine pixels in ten are background.
    weight = torch.ones(11)
    weight[BACKGROUND] = 0.2
    fit(
        model,
        Batches(training, options.steps // 2),
        nn.CrossEntropyLoss(weight),
        steps=options.steps,
        size=14,
        peak=3e-3,
    )
    path, archive = options.out / "scenes.onnx", options.out / "scenes.zip"
    export(model, torch.zeros(1, 3, SIDE, SIDE), path, "scores")
    ship(shipped, archive)
    record = {
        "seed": SEED,
        "training_digits": len(training.labels),
        "shipped_images": SHIPPED,
        "mean_iou": round(mean_iou(path, archive), 2),
        "torch": torch.__version__,
        "digit_sha256": sorted(shipped.sha256),
        "training_sha256": sorted(training.sha256),
    }
    (options.out / "scenes.json").write_text(json.dumps(record) + "\n")
    print(json.dumps({key: record[key] for key in list(record)[:5]}))


if __name__ == "__main__":
    main()
