"""`require`: what the deployment must meet."""

from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from tierwise.errors import UserError
from tierwise.recommend.requirement import Requirement
from tierwise.study.sections.base import Section, Size, text


class RequireSpec(Section):
    """What the deployment must meet; also options of `tierwise recommend`."""

    latency: Annotated[str, BeforeValidator(text)] | None = Field(
        default=None,
        pattern=r"^\s*p\d{1,2}(\.\d+)?\s*=\s*\S+\s*$",
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

    @field_validator("latency", "max_memory", "when")
    @classmethod
    def _can_be_understood(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            try:
                Requirement.from_mapping({str(info.field_name): value})
            except UserError as error:
                raise ValueError(str(error)) from error
        return value

    def asked(self) -> Requirement:
        """The same as the recommending room has it."""
        return Requirement.from_mapping(self.as_written())

    def as_written(self) -> dict[str, str]:
        """Only what is set, as text."""
        return {key: str(value) for key, value in self if value is not None}
