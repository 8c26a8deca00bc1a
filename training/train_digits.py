"""Train, export and record the zoo's classifier.

    python training/train_digits.py --checkpoint digits-phase-1.pt

Writes ``digits.onnx``, ``digits.zip`` (images and labels) and ``digits.json`` (the record).
"""

import argparse
import csv
import io
import json
import zipfile
from pathlib import Path

import tierwise  # noqa: F401 - before ONNX Runtime, whose telemetry it switches off

# isort: split
import numpy as np
import onnxruntime
import torch
from digit_images import Digits, photograph, split_digits
from networks import Classifier
from PIL import Image
from recipe import export, fit, fix
from torch import Tensor, nn

from tierwise.data.preprocess import Preprocess

SEED = 20
THREADS = 1
INPUT_SIDE = 96
# A fixed date, so that the same images always make the same archive.
STAMP = (2026, 1, 1, 0, 0, 0)
PREPROCESS = Preprocess(color="L", resize=(INPUT_SIDE, INPUT_SIDE), scale=1 / 255)


class Batches:
    """Training digits, photographed anew for every batch."""

    def __init__(self, digits: Digits, side: int, easy_batches: int) -> None:
        self.digits, self.side, self.easy_batches, self.made = digits, side, easy_batches, 0
        self.generator = np.random.default_rng([SEED, side])

    def __call__(self, size: int) -> tuple[Tensor, Tensor]:
        chosen = self.generator.integers(0, len(self.digits.labels), size)
        self.made += 1
        difficulty = min(1.0, self.made / max(1, self.easy_batches))
        images = np.stack(
            [photograph(self.digits.pixels[i], self.generator, difficulty) for i in chosen]
        )
        batch = torch.from_numpy(images).float()[:, None] / 255
        if self.side != batch.shape[-1]:
            batch = nn.functional.interpolate(batch, size=(self.side, self.side), mode="bilinear")
        return batch, torch.from_numpy(self.digits.labels[chosen])


def ship(digits: Digits, path: Path) -> dict[str, str]:
    """Write the archive; returns the source hash of every file."""
    generator = np.random.default_rng(SEED + 1)
    sources: dict[str, str] = {}
    labels = io.StringIO()
    rows = csv.writer(labels, lineterminator="\n")
    rows.writerow(["file", "label"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, (pixels, label) in enumerate(zip(digits.pixels, digits.labels, strict=True)):
            name = f"{number:04d}.png"
            buffer = io.BytesIO()
            Image.fromarray(photograph(pixels, generator)).save(buffer, "PNG", optimize=True)
            archive.writestr(zipfile.ZipInfo(f"images/{name}", STAMP), buffer.getvalue())
            rows.writerow([name, int(label)])
            sources[name] = digits.sha256[number]
        archive.writestr(zipfile.ZipInfo("labels.csv", STAMP), labels.getvalue())
    return sources


def mistakes(model: Path, archive: Path) -> list[str]:
    """The images of the archive that the exported file gets wrong, pre-processed as in a study."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    wrong = []
    with zipfile.ZipFile(archive) as stored:
        for row in csv.DictReader(io.StringIO(stored.read("labels.csv").decode())):
            feeds = {"image": PREPROCESS.apply(stored.read(f"images/{row['file']}"))}
            if int(session.run(None, feeds)[0].argmax()) != int(row["label"]):
                wrong.append(row["file"])
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--steps", type=int, default=420)
    parser.add_argument("--out", type=Path, default=Path("src/tierwise/zoo/assets"))
    parser.add_argument("--name", default="digits")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        help="where the first phase's weights go; where they are there, it is skipped",
    )
    options = parser.parse_args()
    fix(SEED, THREADS)
    training, shipped = split_digits()
    model = Classifier(options.blocks)
    loss = nn.CrossEntropyLoss(label_smoothing=0.05)
    # Most steps at half the resolution, a quarter of the cost; the last at the one deployed.
    if options.checkpoint.exists():
        model.load_state_dict(torch.load(options.checkpoint))
    else:
        first = Batches(training, INPUT_SIDE // 2, easy_batches=options.steps // 3)
        fit(model, first, loss, steps=options.steps, size=32, peak=2e-3)
        torch.save(model.state_dict(), options.checkpoint)
    last = Batches(training, INPUT_SIDE, easy_batches=0)
    fit(model, last, loss, steps=options.steps // 2, size=24, peak=2e-3)
    path = options.out / f"{options.name}.onnx"
    export(model, torch.zeros(1, 1, INPUT_SIDE, INPUT_SIDE), path, "logits")
    archive = options.out / "digits.zip"
    sources = ship(shipped, archive)
    wrong = mistakes(path, archive)
    record = {
        "seed": SEED,
        "blocks_per_stage": options.blocks,
        "training_images": len(training.labels),
        "shipped_images": len(shipped.labels),
        "top_1": round(100 * (1 - len(wrong) / len(shipped.labels)), 2),
        "torch": torch.__version__,
        "wrong": wrong,
        "sources": sources,
        "training_sha256": sorted(training.sha256),
    }
    (options.out / f"{options.name}.json").write_text(json.dumps(record) + "\n")
    print(json.dumps({key: record[key] for key in list(record)[:6]}))


if __name__ == "__main__":
    main()
