"""Composited scenes: real handwritten digits laid on crops of real photographs.

No scene was ever photographed: digits, photographs and class maps are put together here. The
photographs are scikit-image's, each CC0: brick, camera, chelsea, coffee, grass, gravel. Training
scenes use the left 60% of each photograph, shipped scenes the right 40%.
"""

import numpy as np
from digit_images import Digits, ink
from PIL import Image
from skimage import data

SIDE = 96
BACKGROUND = 10
PHOTOGRAPHS = ("brick", "camera", "chelsea", "coffee", "grass", "gravel")


def textures(*, training: bool) -> list[np.ndarray]:
    """The halves of the photographs, RGB uint8."""
    parts = []
    for name in PHOTOGRAPHS:
        photograph = getattr(data, name)()
        rgb = photograph if photograph.ndim == 3 else np.dstack([photograph] * 3)
        border = int(0.6 * rgb.shape[1])
        parts.append(rgb[:, :border] if training else rgb[:, border:])
    return parts


def scene(
    digits: Digits,
    photographs: list[np.ndarray],
    generator: np.random.Generator,
    difficulty: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """One scene ``[96, 96, 3]`` uint8 and its class map ``[96, 96]`` uint8.

    One to four digits that do not overlap; ids 0 to 9 are the digits, 10 is the background.
    ``difficulty`` below 1 flattens the photograph and makes the digits stand out; training starts
    there.
    """
    photograph = photographs[generator.integers(len(photographs))]
    side = int(generator.integers(SIDE, min(photograph.shape[:2]) + 1))
    top, left = (int(generator.integers(0, size - side + 1)) for size in photograph.shape[:2])
    crop = Image.fromarray(photograph[top : top + side, left : left + side])
    small = crop.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    image = np.asarray(small, dtype=np.float32) * generator.uniform(0.6, 1.2)
    flat = image.mean(axis=(0, 1))
    image = flat + difficulty * (image - flat)
    classes = np.full((SIDE, SIDE), BACKGROUND, dtype=np.uint8)
    taken = np.zeros((SIDE, SIDE), dtype=bool)
    for _ in range(generator.integers(2, 5)):
        chosen = generator.integers(len(digits.labels))
        size = int(generator.integers(32, 53))
        top, left = generator.integers(0, SIDE - size + 1, 2)
        place = (slice(top, top + size), slice(left, left + size))
        if taken[place].any():
            continue
        taken[place] = True
        coverage = ink(digits.pixels[chosen], size, difficulty * generator.uniform(-15, 15))
        colour = _colour(image[place].mean(axis=(0, 1)), 65 + 30 * (1 - difficulty), generator)
        opacity = generator.uniform(0.75, 1.0)
        image[place] += (coverage * opacity)[..., None] * (colour - image[place])
        classes[place][coverage > 0.5] = digits.labels[chosen]
    image += generator.normal(0, difficulty * generator.uniform(2, 10), image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), classes


def _colour(around: np.ndarray, contrast: float, generator: np.random.Generator) -> np.ndarray:
    """A random colour at least ``contrast`` grey levels, in the mean, from what is ``around``."""
    while True:
        colour = generator.uniform(0, 255, 3)
        if np.abs(colour - around).mean() > contrast:
            return colour.astype(np.float32)
