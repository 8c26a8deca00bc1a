"""Which of this machine's cores stand for which tier."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tierwise.errors import EnvironmentFault
from tierwise.tiers.emulated.linux import IS_LINUX


@dataclass(frozen=True)
class Cores:
    """Who computes where.

    Attributes:
        usable: Cores that this process may use.
        study: Those for the study and the links: not a tier's, where there is more than one.
        of: Those of each tier with a CPU share.
    """

    usable: tuple[int, ...]
    study: tuple[int, ...]
    of: Mapping[str, tuple[int, ...]]

    @property
    def tiers(self) -> tuple[int, ...]:
        """Every core that stands for a tier."""
        return tuple(sorted({core for cores in self.of.values() for core in cores}))

    def beside(self, tier: str) -> tuple[str, ...]:
        """Tiers that share a core with ``tier``."""
        own = set(self.of.get(tier, ()))
        return tuple(n for n, cores in self.of.items() if n != tier and own.intersection(cores))


def share_out(cpus: Mapping[str, float], usable: Sequence[int] | None = None) -> Cores:
    """Give every tier as many cores as it may use at once, its own while there are enough.

    The first core is left to the study and the links, where there is another. Tiers share what is
    too little: in a chain they compute one after the other.
    """
    if usable is None:
        usable = sorted(os.sched_getaffinity(0)) if IS_LINUX else range(os.cpu_count() or 1)
    usable = tuple(usable)
    first, rest = usable[:1], _whole(usable)[1:]
    taken = dict.fromkeys(usable, 0.0)
    of = {}
    for name, share in sorted(cpus.items(), key=lambda item: -item[1]):
        wanted = math.ceil(share)
        pool = next((p for p in (rest, usable[1:]) if wanted <= len(p)), usable)
        chosen = sorted(sorted(pool, key=taken.__getitem__)[:wanted])
        of[name] = tuple(chosen)
        for core in chosen:
            taken[core] += share / wanted
    free = tuple(core for core in usable if not taken[core])
    return Cores(usable, free or first, of)


def require_cores(tier: str, cpus: float, cores: Cores) -> None:
    """Raise :class:`EnvironmentFault` where ``tier`` asks for more ``cpus`` than there are."""
    count = len(cores.usable)
    if cpus > count:
        raise EnvironmentFault(
            f"Tier {tier} asks for {cpus:g} CPUs, and this machine has {count}.",
            hint=f"Write `cpus: {count}` or less, or give the tier's real machine as `url:`.",
            tier=tier,
        )


def _whole(usable: Sequence[int]) -> tuple[int, ...]:
    """One logical core of each physical one: two on one would slow each other down."""
    seen: set[str] = set()
    found = []
    for core in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        siblings = path.read_text("ascii").strip() if path.exists() else str(core)
        if siblings not in seen:
            seen.add(siblings)
            found.append(core)
    return tuple(found)
