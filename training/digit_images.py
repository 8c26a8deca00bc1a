"""Real handwritten digits, split once, and drawn as a cheap camera might see them.

Source: ``sklearn.datasets.load_digits``, 1,797 images of 8x8 pixels by 13 writers.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

SPLIT_SEED = 1
TRAINING_DIGITS = 400
SHIPPED_DIGITS = 900
SIDE = 64


@dataclass(frozen=True)
class Digits:
    """Some of the source images: ``pixels`` [n, 8, 8] in 0 to 1, ``labels``, source ``sha256``."""

    pixels: np.ndarray
    labels: np.ndarray
    sha256: tuple[str, ...]


def split_digits() -> tuple[Digits, Digits]:
    """Digits to train on and digits to ship, by class in proportion; no image is in both.

    The source holds a few images twice; the second of a pair is dropped before the split.
    """
    source = load_digits()
    hashes = [
        hashlib.sha256(image.astype(np.uint8).tobytes()).hexdigest() for image in source.images
    ]
    unique = np.array(
        sorted({digest: i for i, digest in reversed(list(enumerate(hashes)))}.values())
    )
    generator = np.random.default_rng(SPLIT_SEED)
    labels = source.target[unique]
    position = np.empty(len(unique))
    for label in range(10):
        members = generator.permutation(np.flatnonzero(labels == label))
        position[members] = (np.arange(len(members)) + generator.random()) / len(members)
    order = unique[np.argsort(position)]
    parts = order[:TRAINING_DIGITS], order[TRAINING_DIGITS : TRAINING_DIGITS + SHIPPED_DIGITS]
    first, second = (
        Digits(
            pixels=source.images[part] / 16.0,
            labels=source.target[part],
            sha256=tuple(hashes[i] for i in part),
        )
        for part in parts
    )
    return first, second


def ink(pixels: np.ndarray, side: int, degrees: float) -> np.ndarray:
    """Coverage in 0 to 1, ``[side, side]``: the digit enlarged and turned."""
    padded = np.pad(pixels, 1)
    small = Image.fromarray((padded * 255).astype(np.uint8))
    large = small.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(large.rotate(degrees, Image.Resampling.BICUBIC), dtype=np.float32) / 255


def photograph(
    pixels: np.ndarray, generator: np.random.Generator, difficulty: float = 1.0
) -> np.ndarray:
    """One grey image ``[64, 64]`` uint8: placed, turned, lit unevenly, blurred, noisy.

    ``difficulty`` below 1 makes it easier: larger, straighter, clearer. Training starts there,
    because from hard images alone the deep nets do not start to learn.
    """
    ease = 1 - difficulty
    side = int(generator.integers(36 + int(20 * ease), 61))
    coverage = np.zeros((SIDE, SIDE), dtype=np.float32)
    top, left = generator.integers(0, SIDE - side + 1, 2)
    turned = ink(pixels, side, difficulty * generator.uniform(-15, 15))
    coverage[top : top + side, left : left + side] = turned
    paper = generator.uniform(120, 220)
    contrast = generator.uniform(45 + 50 * ease, 110)
    slope = difficulty * generator.uniform(-0.8, 0.8, 2)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2
    clean = paper + slope[0] * rows + slope[1] * columns - contrast * coverage
    image = Image.fromarray(np.clip(clean, 0, 255).astype(np.uint8))
    blurred = np.asarray(
        image.filter(ImageFilter.GaussianBlur(difficulty * generator.uniform(0, 1.5)))
    )
    noise = difficulty * generator.uniform(5, 20)
    return np.clip(np.rint(blurred + generator.normal(0, noise, blurred.shape)), 0, 255).astype(
        np.uint8
    )
