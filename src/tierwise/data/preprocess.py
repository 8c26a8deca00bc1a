"""From the encoded image that a user's device has to the tensor that the model wants."""

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tierwise.errors import DataError

PositiveInt = Annotated[int, Field(gt=0)]
HeightWidth = tuple[PositiveInt, PositiveInt]
Size = tuple[int, int]  # width and height, as Pillow has them

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
# Pixel values are 0 to 255; a result that leaves an integer type's range would wrap around.
_INTEGER_DTYPES = ("uint8", "int8")


@dataclass(frozen=True, eq=False)
class _Affine:
    """What is done to pixel values; computed once, in float64, as small arrays cost time.

    Attributes:
        factor: One number, or one per channel along the layout's axis.
        offset: Added afterwards; likewise.
        same: Whether both change nothing.
    """

    factor: np.ndarray
    offset: np.ndarray
    same: bool


class Preprocess(BaseModel):
    """How an encoded image becomes the model's input; the steps run in the order of the fields.

    Pixels are 8 bit. An image's EXIF orientation is not applied and transparency is dropped, as
    in the common training pipelines (``PIL.Image.convert``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    color: Literal["RGB", "BGR", "L"] = Field(
        default="RGB", description="Channel order; L is one channel of grey."
    )
    crop_ratio: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="First cut the central square whose side is this share of the short side "
        "(EfficientNet of size S: S/(S+32), such as 0.875 for 224).",
    )
    resize: PositiveInt | HeightWidth | None = Field(
        default=None,
        description="Then resize: one number is the new short side (the aspect ratio stays), "
        "[height, width] is exact.",
    )
    interpolation: Literal["nearest", "bilinear", "bicubic"] = Field(
        default="bilinear",
        description="How to resize; anti-aliased when shrinking, as Pillow and torchvision do.",
    )
    crop: HeightWidth | None = Field(
        default=None, description="Then cut the central [height, width]."
    )
    scale: float = Field(
        default=1.0, description="Multiply pixel values (0 to 255); 0.00392156862745098 is 1/255."
    )
    mean: float | tuple[float, ...] = Field(
        default=0.0,
        description="Subtract after `scale`, so in scaled units; one number, or one per channel "
        "in the order of `color`.",
    )
    std: float | tuple[float, ...] = Field(
        default=1.0, description="Divide by, after `mean`; in scaled units; one or one per channel."
    )
    layout: Literal["NCHW", "NHWC"] = Field(default="NCHW", description="Order of the axes.")
    dtype: Literal["float32", "float16", "uint8", "int8"] = Field(
        default="float32", description="Element type; integers are rounded and clipped."
    )

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, tuple) and len(value) != self.channels:
                raise ValueError(
                    f"{name} has {len(value)} numbers, but color {self.color} has "
                    f"{self.channels} channel(s)"
                )
        if np.any(np.asarray(self.std) == 0):
            raise ValueError("std is 0: write 1 for no division")
        return self

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return 1 if self.color == "L" else 3

    def apply(self, encoded: bytes, *, name: str = "The image") -> np.ndarray:
        """The model's input for one encoded image.

        Args:
            encoded: A file's bytes: PNG, JPEG, WebP, BMP, TIFF or PPM.
            name: What to call the image in an error.

        Returns:
            ``[1, c, h, w]`` or ``[1, h, w, c]`` of :attr:`dtype`, C-contiguous.

        Raises:
            DataError: not an image that can be decoded, or not of 8 bits a channel.
        """
        pixels = np.asarray(self._geometry(self._decode(encoded, name), name))
        if pixels.ndim == 2:
            pixels = pixels[:, :, np.newaxis]
        if self.color == "BGR":
            pixels = pixels[:, :, ::-1]
        return self._normalise(pixels)[np.newaxis]

    def apply_to_mask(self, mask: np.ndarray, *, name: str = "The mask") -> np.ndarray:
        """The class map ``mask`` (``[h, w]``, uint8) with the geometry that its image gets.

        Crops and resizes exactly as :meth:`apply` does, but always to the nearest pixel, because
        a mean of two class ids is no class.
        """
        image = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8))
        return np.asarray(self._geometry(image, name, Image.Resampling.NEAREST))

    def _decode(self, encoded: bytes, name: str) -> Image.Image:
        try:
            image: Image.Image = Image.open(io.BytesIO(encoded))
            if image.mode not in _EIGHT_BIT_MODES:
                raise DataError(
                    f"{name} has pixels of type {image.mode!r}; 8 bits a channel are required.",
                    hint="Save it as an 8-bit PNG, or pre-process it yourself into an .npz.",
                    image=name,
                )
            mode = "L" if self.color == "L" else "RGB"
            if image.mode == mode:
                image.load()
            else:
                image = image.convert(mode)
        # Pillow's decoders raise all of these for damaged files.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{name} cannot be decoded as an image ({len(encoded)} bytes: {error}).",
                hint="Replace or remove the file.",
                image=name,
            ) from error
        return image

    def _geometry(
        self, image: Image.Image, name: str, resampling: Image.Resampling | None = None
    ) -> Image.Image:
        if resampling is None:
            resampling = _RESAMPLING[self.interpolation]
        if self.crop_ratio is not None:
            side = max(1, int(self.crop_ratio * min(image.size)))
            image = image.crop(_centre(image.size, (side, side)))
        size = self._resized(image.size)
        if self.crop is None:
            return image if size == image.size else image.resize(size, resampling)
        kept_size = self.crop[1], self.crop[0]
        if kept_size[0] > size[0] or kept_size[1] > size[1]:
            raise DataError(
                f"{name} is {size[1]}x{size[0]} (height x width) before the crop; "
                f"crop: [{kept_size[1]}, {kept_size[0]}] does not fit in it.",
                hint="Set a larger `resize`, or a smaller `crop`, in the study's `preprocess`.",
                image=name,
            )
        return _resize_and_crop(image, size, _centre(size, kept_size), resampling)

    def _resized(self, size: Size) -> Size:
        """What an image of ``size`` is resized to."""
        width, height = size
        if self.resize is None:
            return size
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        # As torchvision's Resize(int): the long side is truncated, not rounded.
        if width <= height:
            return self.resize, max(1, self.resize * height // width)
        return max(1, self.resize * width // height), self.resize

    @cached_property
    def _affine(self) -> "_Affine":
        std = np.asarray(self.std, dtype=np.float64)
        factor = self.scale / std
        offset = -np.asarray(self.mean, dtype=np.float64) / std
        same = bool(np.all(factor == 1.0) and np.all(offset == 0.0))
        shape = (-1, 1, 1) if self.layout == "NCHW" else (-1,)
        return _Affine(
            factor.reshape(shape).astype(np.float32), offset.reshape(shape).astype(np.float32), same
        )

    def _normalise(self, pixels: np.ndarray) -> np.ndarray:
        """(pixels * scale - mean) / std of ``[h, w, c]``, in the layout and dtype asked for."""
        ordered = pixels if self.layout == "NHWC" else pixels.transpose(2, 0, 1)
        affine = self._affine
        if affine.same and self.dtype == "uint8":
            return np.ascontiguousarray(ordered)
        # Transposing alone first, then in place, takes 0.6 of the time that a multiplication of
        # the transposed pixels takes.
        values = ordered.astype(np.float32, order="C")
        values *= affine.factor
        values += affine.offset
        if self.dtype in _INTEGER_DTYPES:
            limits = np.iinfo(self.dtype)
            np.clip(np.rint(values, out=values), limits.min, limits.max, out=values)
        result: np.ndarray = values.astype(self.dtype, copy=False)
        return result


def _centre(size: Size, kept_size: Size) -> tuple[int, int, int, int]:
    """The central ``kept_size``; an odd remainder goes half a pixel down and right.

    As the reference pre-processing of EfficientNet does: ``((size - crop) + 1) // 2``.
    """
    left, top = ((whole - kept + 1) // 2 for whole, kept in zip(size, kept_size, strict=True))
    return left, top, left + kept_size[0], top + kept_size[1]


def _resize_and_crop(
    image: Image.Image,
    size: Size,
    kept: tuple[int, int, int, int],
    resampling: Image.Resampling,
) -> Image.Image:
    """The part ``kept`` of ``image`` resized to ``size``; of the rest little is computed.

    Columns first, then rows, as Pillow before version 13 always did: their order shows where
    intermediate values are rounded and clipped. Pillow rounds the edges of a part to float32, so a
    few values differ from the whole image's by one step, rarely by two. A nearest pixel could be
    another one, so those are cut from the whole.
    """
    if size == image.size:
        return image.crop(kept)
    if resampling == Image.Resampling.NEAREST:
        return image.resize(size, resampling).crop(kept)
    left, top, right, bottom = kept
    across, down = image.width / size[0], image.height / size[1]
    columns = image.resize(
        (right - left, image.height), resampling, (left * across, 0, right * across, image.height)
    )
    return columns.resize(
        (right - left, bottom - top), resampling, (0, top * down, right - left, bottom * down)
    )
