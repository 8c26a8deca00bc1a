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
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from tierwise.data.spec import DataSpec
from tierwise.errors import StudyFileError, UserError
from tierwise.operators.strategy import Operator
from tierwise.serving.tls import tls_of
from tierwise.study.sections.base import Section
from tierwise.study.sections.measuring import MeasureSpec, QualitySpec
from tierwise.study.sections.operators import OperatorsSpec
from tierwise.study.sections.places import LinkSpec, TierSpec
from tierwise.study.sections.require import RequireSpec
from tierwise.tiers.topology import Link, NetworkCondition, Tier, TlsFiles, Topology
from tierwise.units import parse_size_bytes

# A link is named "near-far", so a tier's own name must not have a hyphen.
_TIER_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MOST_NAMED = 3  # network conditions in a message
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


def _or_list(schema: dict[str, Any]) -> None:
    """Let an editor accept a plain list of operators for the section."""
    section = {"$ref": schema.pop("$ref")}
    letters = {"type": "array", "items": {"enum": [op.value for op in Operator]}, "minItems": 1}
    schema["anyOf"] = [letters, section]


def _operators(value: object) -> object:
    if isinstance(value, str):
        return {"use": [part.strip() for part in value.split(",")]}
    return {"use": value} if isinstance(value, list) else value


def _or_all(schema: dict[str, Any]) -> None:
    """Let an editor accept `all` for the section."""
    schema["anyOf"] = [{"const": "all"}, {"$ref": schema.pop("$ref")}]


def _measure(value: object) -> object:
    return {"strategies": value} if isinstance(value, str) else value


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
    measure: Annotated[MeasureSpec, BeforeValidator(_measure)] = Field(
        default=MeasureSpec(),
        description="What is measured, how often, and in which order; `all`: every strategy.",
        json_schema_extra=_or_all,
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

    @field_validator("links")
    @classmethod
    def _real_links_are_as_they_are(
        cls, links: dict[str, LinkSpec], info: ValidationInfo
    ) -> dict[str, LinkSpec]:
        tiers = info.data.get("tiers", {})
        for name, link in links.items():
            real = [end for end in name.split("-") if end in tiers and tiers[end].url is not None]
            if real and link.shaped:
                raise ValueError(
                    f"{name!r} ends at {real[0]}, a real machine, and cannot be shaped. Remove its "
                    "bandwidth, rtt, jitter and loss, or the tier's `url`."
                )
        return links

    @field_validator("measure")
    @classmethod
    def _links_in_user_space_lose_nothing(
        cls, measure: MeasureSpec, info: ValidationInfo
    ) -> MeasureSpec:
        uneven = [name for name, link in info.data.get("links", {}).items() if link.uneven]
        if uneven and measure.backend == "userspace":
            raise ValueError(
                f"link {uneven[0]} asks for jitter or loss, which `backend: userspace` has not. "
                "Remove them, or the back end."
            )
        return measure

    @field_validator("require")
    @classmethod
    def _require_can_be_answered(cls, require: RequireSpec, info: ValidationInfo) -> RequireSpec:
        asked, known = require.asked(), info.data
        if asked.percentile is not None and "measure" in known:
            known["measure"].check_backing(asked.percentile)
        if asked.when and known.keys() >= {"tiers", "links"}:
            conditions = _conditions(known["tiers"], known["links"])
            try:
                asked.choose(conditions)
            except UserError as error:
                there = "; ".join(condition.id for condition in conditions[:_MOST_NAMED])
                more = ", ..." if len(conditions) > _MOST_NAMED else ""
                raise ValueError(
                    f"`when: {require.when}` is no network condition of this file. It has: "
                    f"{there}{more}"
                ) from error
        return require

    def link(self, link: Link) -> LinkSpec:
        """The section of ``link``, or its default where the file has none."""
        return _link(link, self.tiers, self.links)

    def topology(self, base_dir: Path, environ: Mapping[str, str] = os.environ) -> Topology:
        """The chain of tiers; certificates are in ``base_dir``, tokens come from ``environ``.

        Raises:
            StudyFileError: a variable that ``token_env`` names is not set, or a file of a
                certificate cannot be used.
        """
        return Topology(
            tuple(_tier(name, spec, base_dir, environ) for name, spec in self.tiers.items())
        )

    def conditions(self) -> tuple[NetworkCondition, ...]:
        """The sweep: the cross product of the links' lists, in the file's order."""
        return _conditions(self.tiers, self.links)


def _link(link: Link, tiers: Mapping[str, TierSpec], links: Mapping[str, LinkSpec]) -> LinkSpec:
    if link.name in links:
        return links[link.name]
    real = tiers[link.near].url is not None or tiers[link.far].url is not None
    return LinkSpec() if real else _DEFAULT_LINKS.get(link.name, LinkSpec())


def _conditions(
    tiers: Mapping[str, TierSpec], links: Mapping[str, LinkSpec]
) -> tuple[NetworkCondition, ...]:
    chain = Topology(tuple(Tier(name, url=tier.url) for name, tier in tiers.items()))
    return tuple(
        chain.condition(dict(zip((link.name for link in chain.links), shapes, strict=True)))
        for shapes in product(*(_link(link, tiers, links).shapes() for link in chain.links))
    )


def _tier(name: str, spec: TierSpec, base_dir: Path, environ: Mapping[str, str]) -> Tier:
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
    tls = TlsFiles(
        *(
            None if file is None else base_dir / file
            for file in (spec.ca, spec.client_cert, spec.client_key)
        )
    )
    try:
        tls_of(tls)
    except UserError as error:
        raise StudyFileError(
            f"Tier {name!r}: {error.message}", hint=error.hint, tier=name
        ) from error
    return Tier(
        name=name,
        cpus=spec.cpus,
        memory_bytes=None if spec.memory is None else parse_size_bytes(spec.memory),
        threads=spec.threads,
        providers=spec.providers,
        url=spec.url,
        token=token,
        tls=tls,
    )
