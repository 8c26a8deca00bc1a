"""The study file as data: what may stand in ``study.yaml``, with its defaults.

Every field's description goes into the JSON schema (``tierwise schema``) and from there into
``docs/study-file.md`` and into editors. Reading a file, with line numbers in its errors, is
:mod:`tierwise.study.parse`.
"""

import difflib
import os
import re
from collections.abc import Mapping
from itertools import pairwise, product
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tierwise.data.spec import DataSpec
from tierwise.errors import StudyFileError, UserError
from tierwise.measure.plan import MeasurePlan
from tierwise.operators.strategy import Operator
from tierwise.tiers.topology import Link, LinkShape, NetworkCondition, Tier, Topology
from tierwise.units import parse_bandwidth_bit_per_s, parse_duration_s, parse_size_bytes

# A link is named "near-far", so a tier's own name must not have a hyphen.
_TIER_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Section(BaseModel):
    """A part of the study file: immutable, and strict about misspelt keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _text(value: object) -> object:
    # `bandwidth: 10` is an int in YAML; the units' own message is better than "not a string".
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _listed(value: object) -> object:
    return [_text(entry) for entry in value] if isinstance(value, list) else [_text(value)]


def _or_one(schema: dict[str, Any]) -> None:
    """Let an editor accept a single value where a list may stand."""
    schema.pop("type")
    items = schema.pop("items")
    least = schema.pop("minItems", 1)
    schema["anyOf"] = [items, {"type": "array", "items": items, "minItems": least}]


def _or_list(schema: dict[str, Any]) -> None:
    """Let an editor accept a plain list of operators for the section."""
    section = {"$ref": schema.pop("$ref")}
    letters = {"type": "array", "items": {"enum": [op.value for op in Operator]}, "minItems": 1}
    schema["anyOf"] = [letters, section]


def _or_number(schema: dict[str, Any]) -> None:
    schema["type"] = ["string", "number"]


def _bandwidth(value: str) -> str:
    if value != "unlimited":
        parse_bandwidth_bit_per_s(value)
    return value


def _duration(value: str) -> str:
    parse_duration_s(value)
    return value


def _size(value: str) -> str:
    parse_size_bytes(value)
    return value


def _raising(check: Any) -> Any:
    def validate(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not text with a unit.")  # noqa: TRY004 - pydantic's seam
        try:
            return check(value)
        except UserError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(lambda value: validate(_text(value)))


Bandwidth = Annotated[str, _raising(_bandwidth)]
Duration = Annotated[str, _raising(_duration)]
Size = Annotated[str, _raising(_size)]


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


class LinkSpec(Section):
    """The network between two neighbouring tiers, the same in both directions."""

    bandwidth: Annotated[list[Bandwidth], BeforeValidator(_listed)] = Field(
        default=["unlimited"],
        min_length=1,
        json_schema_extra=_or_one,
        description="Rate of each direction, such as 10Mbit; a list is swept: every value is "
        "measured with every value of the other links. `unlimited`: not shaped.",
    )
    rtt: Annotated[list[Duration], BeforeValidator(_listed)] = Field(
        default=["0ms"],
        min_length=1,
        json_schema_extra=_or_one,
        description="Round-trip time that the link adds, such as 20ms; a list is swept.",
    )
    jitter: Duration = Field(
        default="0ms",
        description="Standard deviation of the one-way delay (needs the kernel's netem).",
    )
    loss: float = Field(
        default=0.0, ge=0, lt=1, description="Share of packets lost, 0 to 1 (needs netem)."
    )

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


class QuantizeOptions(Section):
    """How Q, QE, QP and QEP are quantized."""

    recipe: str = Field(
        default="auto",
        description="Quantization recipe by name, or `auto`: the best of those measured here.",
    )
    max_loss: float = Field(
        default=1.0,
        ge=0,
        description="Points of quality that quantization may lose; nodes that cost more stay in "
        "float.",
    )
    budget: Duration = Field(
        default="20s", description="Time for trying recipes, for each quantized variant."
    )

    @property
    def budget_s(self) -> float:
        """The budget in seconds."""
        return parse_duration_s(self.budget)


class EarlyExitOptions(Section):
    """Which blocks E, QE, EP and QEP skip. At most one of the ways."""

    from_: str | None = Field(
        default=None, alias="from", description="Tensor after which blocks are skipped, by name."
    )
    to: str | None = Field(
        default=None, description="Tensor of the same shape at which the model goes on, by name."
    )
    save: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of the multiply-accumulates to save; the blocks that cost the least "
        "fidelity are searched. This is the default, with 0.15.",
    )
    rule: Literal["last-two"] | None = Field(
        default=None, description="`last-two`: the study's own rule, the last two skippable blocks."
    )

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.from_ is None) != (self.to is None):
            raise ValueError("`from` and `to` come together: name both tensors.")
        ways = [self.from_ is not None, self.save is not None, self.rule is not None]
        if sum(ways) > 1:
            raise ValueError("Choose one of `from`/`to`, `save` and `rule`.")
        return self


class PartitionOptions(Section):
    """Where P, QP, EP and QEP are cut."""

    cut: Annotated[str, BeforeValidator(_text)] = Field(
        default="auto",
        json_schema_extra=_or_number,
        description="`auto`: the best predicted cut for each pair of tiers; or a cut's id or "
        "tensor (see `tierwise inspect --cuts`); or 0.5: the cut nearest to half of the work.",
    )


class OperatorsSpec(Section):
    """The operators to try, and their options."""

    use: list[Operator] = Field(
        default=list(Operator),
        min_length=1,
        description="Which operators: I (identity), Q (quantize), E (early exit), P (partition) "
        "and the hybrids QE, QP, EP, QEP. I is always measured: losses are counted against it.",
    )
    quantize: QuantizeOptions = Field(default=QuantizeOptions(), description="Options of Q.")
    early_exit: EarlyExitOptions = Field(default=EarlyExitOptions(), description="Options of E.")
    partition: PartitionOptions = Field(default=PartitionOptions(), description="Options of P.")

    @property
    def chosen(self) -> tuple[Operator, ...]:
        """The operators without repetition, in the study's order, identity always among them."""
        return tuple(op for op in Operator if op in self.use or op is Operator.I)


class MeasureSpec(Section):
    """How latency is measured."""

    samples: int = Field(
        default=30,
        ge=1,
        le=100_000,
        description="Timed requests of each strategy under each network condition. "
        "90 or more back a p95 with 99% confidence.",
    )
    max_samples: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Go on beyond `samples`, up to this many, until `precision` is reached.",
    )
    precision: float = Field(
        default=0.02,
        gt=0,
        lt=1,
        description="With `max_samples`: stop when the 95% interval of every median is at most "
        "this wide, relative to the median.",
    )
    budget: Duration | None = Field(
        default=None,
        description="Stop a network condition after this time, such as 10min, with what there is.",
    )
    inputs: int = Field(
        default=50, ge=1, description="The most different inputs that timed requests carry."
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of every random choice: inputs, order, split."
    )
    backend: Literal["auto", "root", "userns", "userspace"] = Field(
        default="auto",
        description="How links are emulated: kernel namespaces as `root` or in a user namespace "
        "(`userns`), or a relay in `userspace`; `auto`: the best that this machine allows.",
    )

    @model_validator(mode="after")
    def _most_is_not_less(self) -> Self:
        if self.max_samples is not None and self.max_samples < self.samples:
            raise ValueError(
                f"`max_samples` is {self.max_samples}, less than `samples` ({self.samples})."
            )
        return self

    def plan(self) -> MeasurePlan:
        """The same as the measuring room has it."""
        return MeasurePlan(
            min_blocks=self.samples,
            max_blocks=self.max_samples or self.samples,
            target_relative_width=self.precision,
            budget_s=None if self.budget is None else parse_duration_s(self.budget),
            seed_inputs=self.seed,
            seed_order=self.seed + 1,
        )


class QualitySpec(Section):
    """How model performance is measured."""

    calibration: int = Field(
        default=128,
        ge=1,
        description="Inputs that quantization and early exit may look at; never evaluated on.",
    )
    evaluation: int = Field(
        default=500, ge=1, description="The most inputs that variants are evaluated on."
    )


class RequireSpec(Section):
    """What the deployment must meet; also options of `tierwise recommend`."""

    latency: Annotated[str, BeforeValidator(_text)] | None = Field(
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


# Shares of this machine rather than of a phone: ratios between tiers travel, milliseconds don't.
# heuristic: each tier has twice the compute of the one before; a phone on good Wi-Fi to an edge
# box, and an edge box on a broadband line to a cloud region.
_DEFAULT_TIERS = {
    "mobile": TierSpec(cpus=0.25, memory="512MiB"),
    "edge": TierSpec(cpus=0.5, memory="1GiB"),
    "cloud": TierSpec(cpus=1.0, memory="2GiB"),
}
_DEFAULT_LINKS = {
    "mobile-edge": LinkSpec(bandwidth=["200Mbit"], rtt=["5ms"]),
    "edge-cloud": LinkSpec(bandwidth=["10Mbit"], rtt=["20ms"]),
}


def _operators(value: object) -> object:
    if isinstance(value, str):
        return {"use": [part.strip() for part in value.split(",")]}
    return {"use": value} if isinstance(value, list) else value


class StudyFile(Section):
    """A whole study file. Only `model` has to be there."""

    model: str = Field(
        min_length=1, description="The ONNX file, relative to the study file (or absolute)."
    )
    name: str | None = Field(
        default=None, description="Name in the report; left out: the model's file name."
    )
    task: Literal["classification", "segmentation", "any"] = Field(
        default="any",
        description="`classification` (top-1, top-5), `segmentation` (mIoU), or `any` "
        "(agreement with the original model's output; needs no labels).",
    )
    data: DataSpec = Field(
        default_factory=DataSpec,
        description="Inputs and labels. Left out: random input, which gives latency only.",
    )
    tiers: dict[str, TierSpec] = Field(
        default=_DEFAULT_TIERS,
        min_length=1,
        description="The tiers by name, nearest to the user first; requests start at the first.",
    )
    links: dict[str, LinkSpec] = Field(
        default={},
        description="The links between neighbouring tiers, named near-far (`edge-cloud`).",
    )
    operators: Annotated[OperatorsSpec, BeforeValidator(_operators)] = Field(
        default=OperatorsSpec(),
        description="A list of operators ([I, Q, E, P, QE, QP, EP, QEP]) or a section with `use` "
        "and options.",
        json_schema_extra=_or_list,
    )
    quality: QualitySpec = Field(
        default=QualitySpec(), description="How many inputs calibrate and evaluate."
    )
    measure: MeasureSpec = Field(
        default=MeasureSpec(), description="How latency is measured: how often, and in which order."
    )
    require: RequireSpec = Field(
        default=RequireSpec(), description="What the deployment must meet; may be left out."
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_sections_are_defaults(cls, content: object) -> object:
        """A section whose every line is a comment is null in YAML, and means its default."""
        if not isinstance(content, dict):
            return content
        return {key: value for key, value in content.items() if value is not None}

    @field_validator("tiers")
    @classmethod
    def _tiers_have_usable_names(cls, tiers: dict[str, TierSpec]) -> dict[str, TierSpec]:
        for name in tiers:
            if not _TIER_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot be a tier's name. Use a lower-case letter followed "
                    "by letters, digits or underscores (a hyphen joins the tiers of a link)."
                )
        return tiers

    @field_validator("links")
    @classmethod
    def _links_join_neighbours(
        cls, links: dict[str, LinkSpec], info: ValidationInfo
    ) -> dict[str, LinkSpec]:
        possible = [f"{near}-{far}" for near, far in pairwise(info.data.get("tiers", links))]
        for name in links:
            if "tiers" in info.data and name not in possible:
                close = difflib.get_close_matches(name, possible, n=1)
                joined = ", ".join(possible) or "none, because there is one tier"
                raise ValueError(
                    f"{name!r} does not join two neighbouring tiers. "
                    + (f"Did you mean `{close[0]}`? " if close else "")
                    + f"The links of these tiers are: {joined}."
                )
        return links

    def link(self, link: Link) -> LinkSpec:
        """The section of ``link``, or its default where the file has none."""
        if link.name in self.links:
            return self.links[link.name]
        return _DEFAULT_LINKS.get(link.name, LinkSpec())

    def topology(self, environ: Mapping[str, str] = os.environ) -> Topology:
        """The chain of tiers; tokens come from ``environ``.

        Raises:
            StudyFileError: a variable that ``token_env`` names is not set.
        """
        return Topology(tuple(_tier(name, spec, environ) for name, spec in self.tiers.items()))

    def conditions(self, topology: Topology) -> tuple[NetworkCondition, ...]:
        """The sweep: the cross product of the links' lists, in the file's order."""
        links = topology.links
        return tuple(
            NetworkCondition(dict(zip((link.name for link in links), shapes, strict=True)))
            for shapes in product(*(self.link(link).shapes() for link in links))
        )


def _tier(name: str, spec: TierSpec, environ: Mapping[str, str]) -> Tier:
    token = None
    if spec.token_env is not None:
        token = environ.get(spec.token_env)
        if not token:
            raise StudyFileError(
                f"Tier {name!r} takes its token from the environment variable {spec.token_env}, "
                "which is not set.",
                hint=f"Set it: `export {spec.token_env}=...`, or remove `token_env`.",
                tier=name,
            )
    return Tier(
        name=name,
        cpus=spec.cpus,
        memory_bytes=None if spec.memory is None else parse_size_bytes(spec.memory),
        threads=spec.threads,
        url=spec.url,
        token=token,
    )
