"""The ``data:`` section of a study file."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tierwise.data.preprocess import Preprocess


class DataSpec(BaseModel):
    """Where inputs and labels are; paths are relative to the study file.

    Give ``images`` (with ``labels`` or ``masks``, or without either), or ``npz``, or nothing:
    then the input is random, which is enough for latency and says nothing about quality.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str | None = Field(
        default=None, description="Folder of images (PNG, JPEG, WebP, BMP, TIFF, PPM)."
    )
    labels: str | None = Field(
        default=None,
        description="CSV with the header `file,label` (label: class id from 0), or the word "
        "`folders`: one sub-folder of `images` per class.",
    )
    masks: str | None = Field(
        default=None,
        description="Folder of 8-bit PNG class maps, named as the images and of their size.",
    )
    npz: str | None = Field(
        default=None,
        description="Ready tensors: one array per model input, named like it, samples on the "
        "first axis; optionally `labels`.",
    )
    preprocess: Preprocess = Field(
        default_factory=Preprocess, description="How an image becomes the model's input."
    )
    sizes: dict[str, tuple[Annotated[int, Field(ge=0)], ...]] = Field(
        default_factory=dict,
        description="Random input only: the shape of inputs with free sizes, such as "
        "{x: [1, 3, 224, 224]}.",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.images is not None and self.npz is not None:
            raise ValueError("give `images` or `npz`, not both")
        if self.images is None and (self.labels is not None or self.masks is not None):
            raise ValueError("`labels` and `masks` belong to `images`; an npz carries its own")
        if self.labels is not None and self.masks is not None:
            raise ValueError("give `labels` (classification) or `masks` (segmentation), not both")
        if self.sizes and (self.images is not None or self.npz is not None):
            raise ValueError("`sizes` shapes random input; with data the data gives the shapes")
        return self
