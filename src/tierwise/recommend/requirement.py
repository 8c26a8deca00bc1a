"""What a user needs of a deployment, parsed from the command line or the study file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tierwise.errors import UserError
from tierwise.tiers.topology import NetworkCondition
from tierwise.units import (
    format_bandwidth,
    format_bytes,
    format_duration,
    parse_bandwidth_bit_per_s,
    parse_duration_s,
    parse_size_bytes,
)

_KEYS = ("latency", "max_loss", "max_memory", "when")
_LATENCY = re.compile(r"^\s*p(\d{1,2}(?:\.\d+)?)\s*(?:=|<=|<)\s*(\S.*?)\s*$", re.IGNORECASE)
_POINTS = re.compile(r"^\s*([0-9]*\.?[0-9]+)\s*(?:%|points?|pts?)?\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class LinkMatch:
    """Which shapes of one link a user asks about; ``None`` accepts any.

    Attributes:
        link: Name of the link, or ``""`` for every link that has a bandwidth to choose.
        bandwidth_bit_per_s: The rate asked for.
        rtt_s: The round-trip time asked for.
    """

    link: str
    bandwidth_bit_per_s: float | None = None
    rtt_s: float | None = None

    def accepts(self, condition: NetworkCondition) -> bool:
        """Whether the link has this shape under ``condition``."""
        shape = condition.shapes[self.link]
        return _same(self.bandwidth_bit_per_s, shape.bandwidth_bit_per_s) and _same(
            self.rtt_s, shape.rtt_s
        )

    def applied_to(self, condition: NetworkCondition) -> NetworkCondition:
        """``condition`` with this shape of the link; what is not asked about stays."""
        shape = condition.shapes[self.link]
        rate, rtt_s = self.bandwidth_bit_per_s, self.rtt_s
        asked = replace(
            shape,
            bandwidth_bit_per_s=shape.bandwidth_bit_per_s if rate is None else rate,
            rtt_s=shape.rtt_s if rtt_s is None else rtt_s,
        )
        return NetworkCondition({**condition.shapes, self.link: asked})

    @property
    def typed(self) -> str:
        """As it is typed: ``"edge-cloud=10Mbit,rtt=30ms"``."""
        rate = self.bandwidth_bit_per_s
        asked = f"{self.link}={'any' if rate is None else f'{rate / 1e6:g}Mbit'}"
        return asked if self.rtt_s is None else f"{asked},rtt={self.rtt_s * 1e3:g}ms"

    def __str__(self) -> str:
        rate = self.bandwidth_bit_per_s
        asked = [] if rate is None else [format_bandwidth(rate)]
        if self.rtt_s is not None:
            asked.append(f"rtt {format_duration(self.rtt_s)}")
        return f"{self.link} at {', '.join(asked)}"


def _same(asked: float | None, there: float | None) -> bool:
    if asked is None:
        return True
    return there is not None and abs(asked - there) <= 1e-6 * max(asked, there)


@dataclass(frozen=True)
class Requirement:
    """What a strategy must do to be recommended; every part may be absent.

    Attributes:
        percentile: Which latency percentile is limited (95.0), or ``None``.
        latency_s: The most that this percentile may be.
        max_loss: The most points of quality that may be lost.
        max_memory_bytes: The most that the process of any tier may hold.
        when: The network conditions that are asked about.
    """

    percentile: float | None = None
    latency_s: float | None = None
    max_loss: float | None = None
    max_memory_bytes: int | None = None
    when: tuple[LinkMatch, ...] = ()

    @classmethod
    def parse(
        cls,
        *,
        latency: str | None = None,
        max_loss: str | float | None = None,
        max_memory: str | None = None,
        when: str | None = None,
    ) -> "Requirement":
        """Read a requirement as people write it.

        Args:
            latency: ``"p95=80ms"``, or ``"80ms"`` for the median.
            max_loss: Points of quality, ``"1.0"``.
            max_memory: ``"512MiB"``.
            when: ``"edge-cloud=10Mbit,rtt=30ms"``; several links are separated by ``;``.

        Raises:
            UserError: A part cannot be understood; the message shows how to write it.
        """
        percentile, latency_s = (None, None) if latency is None else _parse_latency(str(latency))
        return cls(
            percentile=percentile,
            latency_s=latency_s,
            max_loss=None if max_loss is None else _parse_loss(str(max_loss)),
            max_memory_bytes=None if max_memory is None else _parse_memory(str(max_memory)),
            when=() if when is None else _parse_when(when),
        )

    @classmethod
    def from_mapping(cls, section: Mapping[str, str]) -> "Requirement":
        """The requirement that a study file's ``require:`` section states."""
        unknown = [key for key in section if key.replace("-", "_") not in _KEYS]
        if unknown:
            raise UserError(
                f"require: does not know {unknown[0]!r}.",
                hint=f"It knows {', '.join(_KEYS)}.",
                key=unknown[0],
            )
        return cls.parse(**{key.replace("-", "_"): value for key, value in section.items()})

    @property
    def empty(self) -> bool:
        """Whether any strategy would do."""
        return self.latency_s is None and self.max_loss is None and self.max_memory_bytes is None

    def overridden_by(self, other: "Requirement") -> "Requirement":
        """This requirement, with every part that ``other`` states taken from there."""
        percentile, latency_s = (
            (self.percentile, self.latency_s)
            if other.latency_s is None
            else (other.percentile, other.latency_s)
        )
        return Requirement(
            percentile,
            latency_s,
            self.max_loss if other.max_loss is None else other.max_loss,
            self.max_memory_bytes if other.max_memory_bytes is None else other.max_memory_bytes,
            other.when or self.when,
        )

    def choose(self, conditions: tuple[NetworkCondition, ...]) -> tuple[NetworkCondition, ...]:
        """Those of the study's ``conditions`` that are asked about, in their order.

        Raises:
            UserError: A link does not exist, or no condition of the sweep is like that.
        """
        self.check_links(conditions)
        chosen = tuple(c for c in conditions if all(match.accepts(c) for match in self.when))
        if not chosen:
            asked = "; ".join(str(match) for match in self.when)
            measured = "\n".join(f"  {condition.id}" for condition in conditions)
            raise UserError(
                f"The study has no numbers for {asked}. It has:\n{measured}",
                hint=f"Ask for one of these, or predict it from them: `tierwise predict DIR --when"
                f' "{self.when_text}"`.',
                asked=asked,
            )
        return chosen

    def check_links(self, conditions: tuple[NetworkCondition, ...]) -> None:
        """Raise :class:`UserError` where ``when`` names a link that ``conditions`` do not have."""
        links = tuple(conditions[0].shapes) if conditions else ()
        for match in self.when:
            if match.link not in links:
                known = ", ".join(links) or "none: the study has a single tier"
                raise UserError(
                    f"There is no link {match.link!r} in this study.",
                    hint=f"Its links are {known}.",
                    link=match.link,
                )

    @property
    def when_text(self) -> str:
        """``when`` as it is typed: ``"edge-cloud=10Mbit,rtt=30ms"``."""
        return "; ".join(match.typed for match in self.when)

    def __str__(self) -> str:
        """In words: ``"p95 at most 80 ms, at most 1 point lost"``."""
        parts = []
        if self.latency_s is not None:
            parts.append(f"p{self.percentile:g} at most {format_duration(self.latency_s)}")
        if self.max_loss is not None:
            points = "point" if self.max_loss == 1 else "points"
            parts.append(f"at most {self.max_loss:g} {points} lost")
        if self.max_memory_bytes is not None:
            parts.append(f"at most {format_bytes(self.max_memory_bytes)} on any tier")
        return ", ".join(parts) or "none"


def _parse_latency(text: str) -> tuple[float, float]:
    match = _LATENCY.match(text)
    percentile, limit = (float(match.group(1)), match.group(2)) if match else (50.0, text)
    if not match and "=" in text:
        raise UserError(
            f"{text!r} is not a latency requirement.",
            hint="Write a percentile below 100 and a duration: --latency p95=80ms.",
            value=text,
        )
    latency_s = parse_duration_s(limit)
    if latency_s <= 0 or percentile <= 0:
        raise UserError(
            f"{text!r} can be met by nothing.", hint="Write for instance --latency p95=80ms."
        )
    return percentile, latency_s


def _parse_loss(text: str) -> float:
    match = _POINTS.match(text)
    if match is None:
        raise UserError(
            f"{text!r} is not a loss in points.",
            hint="Write how many points of quality (0 to 100) may be lost: --max-loss 1.0.",
            value=text,
        )
    return float(match.group(1))


def _parse_memory(text: str) -> int:
    size_bytes = parse_size_bytes(text)
    if size_bytes <= 0:
        raise UserError(
            f"No strategy runs in {text!r} of memory.", hint="Write for instance 512MiB."
        )
    return size_bytes


def _parse_when(text: str) -> tuple[LinkMatch, ...]:
    matches = []
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        first, *rest = (piece.strip() for piece in part.split(","))
        link, equals, rate = (piece.strip() for piece in first.partition("="))
        extra = dict(_pair(piece, text) for piece in rest)
        unknown = [key for key in extra if key != "rtt"]
        if not link or not equals or link == "rtt" or unknown:
            raise _bad_when(text)
        matches.append(
            LinkMatch(
                link,
                None if rate in {"", "any", "real network"} else parse_bandwidth_bit_per_s(rate),
                parse_duration_s(extra["rtt"]) if "rtt" in extra else None,
            )
        )
    if not matches:
        raise _bad_when(text)
    return tuple(matches)


def _pair(piece: str, text: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in piece.partition("="))
    if not equals or not value:
        raise _bad_when(text)
    return key, value


def _bad_when(text: str) -> UserError:
    return UserError(
        f"{text!r} does not say when.",
        hint="Write the link, its bandwidth and, if it matters, its round-trip time: --when"
        ' "edge-cloud=10Mbit,rtt=30ms"; separate several links by ";".',
        value=text,
    )
