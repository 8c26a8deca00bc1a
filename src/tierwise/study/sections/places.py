"""`tiers` and `links`: the places that compute, and the networks between them."""

from itertools import product
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from tierwise.study.sections.base import Bandwidth, Duration, Section, Size, listed, or_one
from tierwise.tiers.topology import LinkShape
from tierwise.units import parse_bandwidth_bit_per_s, parse_duration_s


class TierSpec(Section):
    """One place that computes."""

    cpus: float | None = Field(
        default=None,
        gt=0,
        le=256,
        description="CPU share in cores of this machine (0.25: a quarter of one core). "
        "Left out: not limited. Only for emulated tiers.",
    )
    memory: Size | None = Field(
        default=None,
        description="The most memory the tier's process may hold, such as 512MiB. "
        "Left out: not limited.",
    )
    threads: int = Field(
        default=1, ge=1, le=256, description="Threads of one inference inside an operator."
    )
    providers: tuple[str, ...] = Field(
        default=("CPUExecutionProvider",),
        min_length=1,
        description="Execution providers of ONNX Runtime on this tier, the preferred one first, "
        "such as [CUDAExecutionProvider, CPUExecutionProvider].",
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+$",
        description="Address of an agent that already runs on a real machine "
        "(`tierwise serve`), such as http://10.0.0.7:8080. Left out: emulated on this machine.",
    )
    token_env: str | None = Field(
        default=None,
        description="Name of the environment variable that holds the real agent's token.",
    )
    ca: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file of the authority that signed the real agent's certificate, or that "
        "certificate where it signs itself. Left out: the system's authorities.",
    )
    client_cert: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file of the certificate that the study shows an agent with "
        "`--tls-client-ca` (mutual TLS).",
    )
    client_key: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file of the private key of `client_cert`. Left out: in the same file.",
    )

    @model_validator(mode="after")
    def _real_tiers_have_no_share(self) -> Self:
        if self.url is not None and (self.cpus is not None or self.memory is not None):
            raise ValueError(
                "A tier with `url` is a real machine: `cpus` and `memory` can only be set where "
                "the tier is emulated. Remove them, or remove `url`."
            )
        if self.token_env is not None and self.url is None:
            raise ValueError("`token_env` belongs to a real tier: add its `url`.")
        return self

    @model_validator(mode="after")
    def _certificates_are_for_https(self) -> Self:
        given = [key for key in ("ca", "client_cert", "client_key") if getattr(self, key)]
        if given and (self.url is None or not self.url.startswith("https:")):
            raise ValueError(
                f"`{given[0]}` is for TLS: it needs a `url` that starts with https://"
                + ("." if self.url is None else f", which {self.url} does not.")
            )
        if self.client_key and not self.client_cert:
            raise ValueError("`client_key` is of no use without `client_cert`: add it.")
        return self


class LinkSpec(Section):
    """The network between two neighbouring tiers, the same in both directions."""

    bandwidth: Annotated[list[Bandwidth], BeforeValidator(listed)] = Field(
        default=["unlimited"],
        min_length=1,
        json_schema_extra=or_one,
        description="Rate of each direction, such as 10Mbit; a list is swept: every value is "
        "measured with every value of the other links. `unlimited`: not shaped.",
    )
    rtt: Annotated[list[Duration], BeforeValidator(listed)] = Field(
        default=["0ms"],
        min_length=1,
        json_schema_extra=or_one,
        description="Round-trip time that the link adds, such as 20ms; a list is swept.",
    )
    jitter: Duration = Field(
        default="0ms",
        description="Standard deviation of the one-way delay (needs the kernel's netem).",
    )
    loss: float = Field(
        default=0.0, ge=0, lt=1, description="Share of packets lost, 0 to 1 (needs netem)."
    )

    @property
    def shaped(self) -> bool:
        """Whether anything is asked of the link."""
        return any(shape != LinkShape() for shape in self.shapes())

    @property
    def uneven(self) -> bool:
        """Whether packets are to be delayed unequally, or lost."""
        return any(shape.uneven for shape in self.shapes())

    def shapes(self) -> tuple[LinkShape, ...]:
        """Every combination of the lists, in their order."""
        return tuple(
            LinkShape(
                bandwidth_bit_per_s=(
                    None if rate == "unlimited" else parse_bandwidth_bit_per_s(rate)
                ),
                rtt_s=parse_duration_s(rtt),
                jitter_s=parse_duration_s(self.jitter),
                loss=self.loss,
            )
            for rate, rtt in product(self.bandwidth, self.rtt)
        )
