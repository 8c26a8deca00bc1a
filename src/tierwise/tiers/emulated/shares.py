"""Which back end keeps which tier's CPU share and memory limit."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

from tierwise.errors import EnvironmentFault
from tierwise.tiers.emulated import cgroups, throttle
from tierwise.tiers.emulated.agents import Agent, Limits, Setup
from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.linux import IS_LINUX
from tierwise.tiers.emulated.workers import start_worker, stop_worker

CpuBackend = Literal["auto", "cgroup", "signals", "none"]


class CpuShares:
    """Chooses back ends, and runs the throttle for those that need it."""

    def __init__(self, backend: CpuBackend, tiers: Sequence[Limits]) -> None:
        """Keep shares the way ``backend`` says; ``"auto"``: the most exact that works."""
        self._backend = backend
        self._throttle: tuple[int, Channel] | None = None
        # Cores of their own where there are enough for all, and one for the study and the links.
        cores = sorted(os.sched_getaffinity(0))[1:] if IS_LINUX else []
        enough = all(t.cpus for t in tiers) and sum(_cores_for(t) for t in tiers) <= len(cores)
        self._free_cores = cores if enough else []

    def prepare(self, tier: Limits, owner_pid: int) -> Setup:
        """Make what the tier's limits need."""
        cores = len(os.sched_getaffinity(0)) if IS_LINUX else os.cpu_count() or 1
        setup = Setup(cpu_backend="unlimited, as asked", memory_backend="unlimited, as asked")
        if tier.cpus is not None:
            self._limit_cpu(setup, tier, tier.cpus, cores, owner_pid)
            self._pin(setup, tier)
        if tier.memory_bytes is not None:
            _limit_memory(setup, tier, tier.memory_bytes, owner_pid)
        return setup

    def apply(self, agents: Iterable[Agent], probes: Mapping[int, str]) -> None:
        """Tell the throttle which processes there are now."""
        shares = {}
        for agent in agents:
            if agent.setup.throttled:
                pids = [pid for pid, tier in probes.items() if tier == agent.limits.name]
                pids += [agent.pid] if agent.pid is not None else []
                shares[agent.limits.name] = {"cpus": float(agent.limits.cpus or 1), "pids": pids}
        if not shares:
            return
        if self._throttle is None:
            self._throttle = start_worker(throttle.run)
        _, channel = self._throttle
        try:
            channel.send({"shares": shares})
            channel.receive()
        except (OSError, EOFError) as error:
            raise EnvironmentFault(
                "The process that keeps the CPU shares died, so shares are not kept any more.",
                hint="Run again; what is finished is kept.",
            ) from error

    def close(self) -> None:
        """End the throttle."""
        if self._throttle is not None:
            stop_worker(*self._throttle)
            self._throttle = None

    def _pin(self, setup: Setup, tier: Limits) -> None:
        """Give the tier cores that no other tier uses, if there are any."""
        if not self._free_cores:
            return
        wanted = _cores_for(tier)
        cores, self._free_cores = self._free_cores[:wanted], self._free_cores[wanted:]
        setup.joins += (partial(os.sched_setaffinity, 0, cores),)
        setup.cpu_backend += f", on core {', '.join(map(str, cores))}"

    def _limit_cpu(
        self, setup: Setup, tier: Limits, cpus: float, cores: int, owner_pid: int
    ) -> None:
        if cpus > cores:
            raise EnvironmentFault(
                f"Tier {tier.name} asks for {cpus:g} CPUs, and this machine has {cores}.",
                hint=f"Write `cpus: {cores}` or less, or give the tier's real machine as `url:`.",
                tier=tier.name,
            )
        # Stopping the process is the more exact for less than a core (module docstring of
        # throttle); from one core on the kernel's quota is exact and costs nothing.
        wanted = ("signals", "cgroup") if cpus < 1 else ("cgroup", "signals")
        for backend in wanted if self._backend == "auto" else (self._backend,):
            if backend == "signals" and IS_LINUX:
                setup.throttled = True
                setup.cpu_backend = "stopped and continued by its CPU clock, every 0.25 ms"
                return
            if backend == "cgroup":
                words = _try_group(setup, "cpu", tier, owner_pid, lambda g: g.limit_cpu(cpus))
                if words is not None:
                    setup.cpu_backend = words
                    return
        if self._backend == "cgroup":
            raise EnvironmentFault(
                f"The CPU share of tier {tier.name} was to be kept by a cgroup, and none can be "
                "made here.",
                hint="Run as root or with a delegated cgroup, or leave the back end to Tierwise.",
            )
        setup.cpu_backend = "not limited"


def _cores_for(tier: Limits) -> int:
    return math.ceil(tier.cpus or 1)


def _limit_memory(setup: Setup, tier: Limits, size_bytes: int, owner_pid: int) -> None:
    words = _try_group(setup, "memory", tier, owner_pid, lambda g: g.limit_memory(size_bytes))
    if words is not None:
        setup.memory = setup.groups[-1]
        setup.memory_backend = words
    elif IS_LINUX:
        setup.watched = True
        setup.memory_backend = "resident size watched every 20 ms, killed above the limit"
    else:
        setup.memory_backend = "not limited"


def _try_group(
    setup: Setup,
    controller: str,
    tier: Limits,
    owner_pid: int,
    limit: Callable[[cgroups.Group], str],
) -> str | None:
    """Make a group and limit it; ``None`` where that is not allowed."""
    hierarchy = cgroups.find(controller)
    if hierarchy is None:
        return None
    try:
        group = cgroups.Group(hierarchy, f"{tier.name}-{controller}", owner_pid)
    except OSError:
        return None
    setup.groups += (group,)
    setup.joins += (group.join,)
    return limit(group)
