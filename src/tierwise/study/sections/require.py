"""`require`: what the deployment must meet."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from tierwise.errors import UserError
from tierwise.study.sections.base import Section, Size, text
from tierwise.units import parse_duration_s


class RequireSpec(Section):
    """What the deployment must meet; also options of `tierwise recommend`."""

    latency: Annotated[str, BeforeValidator(text)] | None = Field(
        default=None,
        pattern=r"^\s*(p\d{1,2}(\.\d+)?|mean|median)\s*=\s*\S+\s*$",
        description="A latency percentile and its limit, such as p95=80ms.",
    )
    max_loss: float | None = Field(
        default=None, ge=0, description="The most points of quality that may be lost."
    )
    max_memory: Size | None = Field(
        default=None, description="The most memory a tier's process may need, such as 512MiB."
    )
    when: str | None = Field(
        default=None, description="Only under this network condition, such as edge-cloud=10Mbit."
    )

    @model_validator(mode="after")
    def _latency_has_a_duration(self) -> Self:
        if self.latency is not None:
            try:
                parse_duration_s(self.latency.split("=", 1)[1])
            except UserError as error:
                raise ValueError(str(error)) from error
        return self

    def as_written(self) -> dict[str, str]:
        """Only what is set, as text."""
        return {key: str(value) for key, value in self if value is not None}
