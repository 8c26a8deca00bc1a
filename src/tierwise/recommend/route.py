"""The way of a request through the tiers under one strategy: what to draw of a deployment."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tierwise.recommend.recommendation import Assessment
from tierwise.tiers.topology import LinkShape, Tier, Topology
from tierwise.units import format_bytes, format_duration


@dataclass(frozen=True)
class Stop:
    """A tier on the chain.

    Attributes:
        tier: The place.
        runs: What runs there (``"Q"``, ``"QP head"``), or ``""`` where a request only passes
            or never comes.
        compute_s: Of the segment; ``None`` where nothing runs or it is not known.
        reached: Whether a request comes there at all.
    """

    tier: Tier
    runs: str
    compute_s: float | None
    reached: bool


@dataclass(frozen=True)
class Crossing:
    """A link on the chain.

    Attributes:
        name: Such as ``"mobile-edge"``.
        shape: Under the condition.
        wire_bytes: Of a request that crosses it and its answer, or ``None``.
        transfer_s: Both ways, over all links of the same hop: said at the last of them.
        together: Whether ``transfer_s`` is of more links than this one.
        crossed: Whether a request crosses it at all.
    """

    name: str
    shape: LinkShape
    wire_bytes: int | None
    transfer_s: float | None
    together: bool
    crossed: bool


def route(assessment: Assessment, topology: Topology) -> tuple[Stop | Crossing, ...]:
    """Tiers and links in turn, from the user's tier to the farthest of the topology."""
    strategy, trial = assessment.trial.strategy, assessment.trial
    far = max(topology.names.index(tier) for tier in strategy.tiers)
    transfer_s, together = _transfers(assessment, topology)
    found: list[Stop | Crossing] = []
    for place, tier in enumerate(topology.tiers):
        if place:
            link = topology.links[place - 1]
            found.append(
                Crossing(
                    name=link.name,
                    shape=trial.condition.shapes[link.name],
                    wire_bytes=trial.wire_bytes.get(link.name),
                    transfer_s=transfer_s.get(link.name),
                    together=link.name in together,
                    crossed=place <= far,
                )
            )
        found.append(
            Stop(
                tier=tier,
                runs=_runs(assessment, tier.name),
                compute_s=assessment.breakdown_s.get(f"compute@{tier.name}"),
                reached=place <= far,
            )
        )
    return tuple(found)


def route_text(assessment: Assessment, topology: Topology) -> str:
    """``"mobile ─ 2.3 KiB, 6.5 ms ─▶ edge [Q, 7.8 ms]"``: as far as a request comes."""
    return " ".join(_words(assessment, topology))


def _words(assessment: Assessment, topology: Topology) -> Iterator[str]:
    for one in route(assessment, topology):
        if isinstance(one, Stop):
            if one.reached:
                said = [one.runs, format_duration(one.compute_s) if one.compute_s else ""]
                inside = ", ".join(filter(None, said))
                yield f"{one.tier.name} [{inside}]" if inside else one.tier.name
        elif one.crossed:
            said = [] if one.wire_bytes is None else [format_bytes(one.wire_bytes)]
            said += [] if one.transfer_s is None else [format_duration(one.transfer_s)]
            yield f"─ {', '.join(said)} ─▶" if said else "──▶"


def _runs(assessment: Assessment, tier: str) -> str:
    strategy = assessment.trial.strategy
    if tier not in strategy.tiers:
        return ""
    name = strategy.operator.value
    if len(strategy.tiers) == 1:
        return name
    place = strategy.tiers.index(tier)
    part = "head" if place == 0 else "tail" if place == len(strategy.tiers) - 1 else "middle"
    return f"{name} {part}"


def _transfers(
    assessment: Assessment, topology: Topology
) -> tuple[dict[str, float], frozenset[str]]:
    """Seconds of every hop at its last link, and the links where that is more than one link's."""
    way = assessment.trial.strategy.tiers
    if way[0] != topology.names[0]:
        way = (topology.names[0], *way)
    seconds, together = {}, set()
    for near, far in pairwise(way):
        took_s = assessment.breakdown_s.get(f"transfer@{near}-{far}")
        links = topology.path(near, far)
        if took_s is not None and links:
            seconds[links[-1].name] = took_s
            together |= {links[-1].name} if len(links) > 1 else set()
    return seconds, frozenset(together)
