"""Which back end keeps which tier's CPU share and memory limit."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tierwise.errors import EnvironmentFault
from tierwise.tiers.emulated import awake, cgroups, throttle
from tierwise.tiers.emulated.agents import Agent, Limits, Setup
from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.cores import require_cores, share_out
from tierwise.tiers.emulated.linux import IS_LINUX, real_time_part
from tierwise.tiers.emulated.workers import start_worker, stop_worker

CpuBackend = Literal["auto", "occupy", "signals", "cgroup", "none"]
# What must be left of the time that real-time processes may take, or the kernel stops the one that
# holds a tier back. heuristic.
_REAL_TIME_MARGIN = 0.02


class CpuShares:
    """Chooses back ends, and runs the processes that some of them need.

    ``"auto"`` takes the most exact that works: whole cores are only given, ``"occupy"`` needs
    real-time priority and no quota over us, ``"signals"`` nothing. ``"cgroup"``, the kernel's
    quota, is the least exact of all and only taken when asked for.
    """

    def __init__(self, backend: CpuBackend, tiers: Sequence[Limits]) -> None:
        """Keep the shares of ``tiers`` the way ``backend`` says."""
        self._backend = backend
        self.cores = share_out({tier.name: tier.cpus for tier in tiers if tier.cpus is not None})
        self._throttles: dict[int, tuple[int, Channel]] = {}
        self._awake: tuple[int, Channel] | None = None
        self._by_signals = False
        self._why_anywhere = _why_anywhere() if IS_LINUX else "no cores can be chosen here"
        self._real_time = real_time_part() if self.cores.of else 0.0
        self._rationed = bool(self.cores.of) and awake.cpu_time_is_rationed()

    def prepare(self, tier: Limits, owner_pid: int) -> Setup:
        """Make what the tier's limits need."""
        setup = Setup(
            cpu_backend="unlimited, as asked",
            memory_backend="unlimited, as asked",
            cores=() if self._why_anywhere else self.cores.of.get(tier.name, self.cores.usable),
        )
        if tier.cpus is not None:
            self._limit_cpu(setup, tier, tier.cpus, owner_pid)
        if tier.memory_bytes is not None:
            _limit_memory(setup, tier, tier.memory_bytes, owner_pid)
        return setup

    def stand_aside(self) -> None:
        """Have this process, and what it starts from now on, run beside the tiers."""
        if not self._why_anywhere:
            os.sched_setaffinity(0, self.cores.study)

    def keep_awake(self) -> tuple[int, ...]:
        """Keep the cores awake on which something is measured; returns those that are."""
        # Beside a process of idle priority an ordinary one is not woken at once any more, so the
        # throttle needs real-time priority then: without, 5 ms of work at 0.25 ran at 0.45.
        if not self.cores.of or self._rationed or self._by_signals or self._why_anywhere:
            return ()
        cores = tuple(sorted({*self.cores.tiers, self.cores.study[0]}))
        if self._awake is None:
            self._awake = start_worker(lambda control: awake.run(control, cores))
        return cores

    def apply(self, agents: Iterable[Agent], probes: Mapping[int, str]) -> None:
        """Tell the throttles which processes there are now."""
        shares: dict[int, dict[str, Any]] = {}
        occupied: dict[int, bool] = {}
        for agent in agents:
            setup, name = agent.setup, agent.limits.name
            if setup.throttle is not None:
                pids = [pid for pid, tier in probes.items() if tier == name]
                pids += [agent.pid] if agent.pid is not None else []
                stops = setup.cores[-1]
                for core in setup.cores if setup.throttle == "occupy" else [stops]:
                    told = {"cpus": agent.limits.cpus, "may_stop": core == stops, "pids": pids}
                    shares.setdefault(core, {})[name] = told
                    occupied[core] = occupied.get(core, True) and setup.throttle == "occupy"
        for core, told in shares.items():
            self._tell(core, {"shares": told}, occupy=occupied[core])

    def close(self) -> None:
        """End the processes."""
        workers = [*self._throttles.values(), *([self._awake] if self._awake else [])]
        self._throttles, self._awake = {}, None
        for worker in workers:
            stop_worker(*worker)

    def _tell(self, core: int, message: dict[str, Any], *, occupy: bool) -> None:
        if core not in self._throttles:
            self._throttles[core] = start_worker(
                lambda control: throttle.run(control, core, occupy=occupy)
            )
        _, channel = self._throttles[core]
        try:
            channel.send(message)
            channel.receive()
        except (OSError, EOFError) as error:
            raise EnvironmentFault(
                "The process that keeps the CPU shares died, so shares are not kept any more.",
                hint="Run again; what is finished is kept.",
            ) from error

    def _limit_cpu(self, setup: Setup, tier: Limits, cpus: float, owner_pid: int) -> None:
        require_cores(tier.name, cpus, self.cores)
        way, words = self._way(cpus), "not limited"
        if self._why_anywhere:
            words += f" ({self._why_anywhere})"
        if way == "cgroup":
            words = self._by_quota(setup, tier, cpus, owner_pid)
        elif way == "cores":
            words = "whole"
        elif way != "none":
            setup.throttle, words = way, _WORDS[way]
            self._by_signals |= way == "signals"
        setup.cpu_backend = self._where(tier.name, words)

    def _by_quota(self, setup: Setup, tier: Limits, cpus: float, owner_pid: int) -> str:
        try:
            return _in_group(setup, "cpu", tier, owner_pid, lambda g: g.limit_cpu(cpus))
        except OSError as error:
            raise EnvironmentFault(
                f"The CPU share of tier {tier.name} was to be kept by a cgroup: {_why(error)}.",
                hint="Run as root or with a delegated cgroup, or leave the back end to Tierwise.",
            ) from error

    def _way(self, cpus: float) -> Literal["occupy", "signals", "cgroup", "cores", "none"]:
        if self._why_anywhere and self._backend != "cgroup":
            return "none"
        if self._backend != "auto":
            return self._backend
        if cpus == int(cpus):
            return "cores"
        taken = 1 - cpus / math.ceil(cpus)  # of each of its cores
        if taken <= self._real_time - _REAL_TIME_MARGIN and not self._rationed:
            return "occupy"
        return "signals"

    def _where(self, tier: str, words: str) -> str:
        cores = self.cores.of[tier]
        if self._why_anywhere:
            return words
        on = f"core {', '.join(map(str, cores))}: {words}"
        others = self.cores.beside(tier)
        return f"{on}, shared with {', '.join(others)}" if others else on


def _why_anywhere() -> str:
    """Why processes cannot be kept on cores of our choice; empty where they can."""
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(0))
    except OSError as error:
        return f"no cores can be chosen: {error.strerror}"
    return ""


_WORDS = {
    "occupy": "kept busy by real-time priority while the tier owes CPU time",
    "signals": "processes stopped by signals while the tier owes CPU time",
}


def _limit_memory(setup: Setup, tier: Limits, size_bytes: int, owner_pid: int) -> None:
    if not IS_LINUX:
        setup.memory_backend = "not limited"
        return
    try:
        words = _in_group(setup, "memory", tier, owner_pid, lambda g: g.limit_memory(size_bytes))
        setup.memory, setup.memory_backend = setup.groups[-1], words
    except OSError as error:
        setup.watched = True
        setup.memory_backend = (
            "resident size watched every 20 ms, killed above the limit "
            f"(no control group: {_why(error)})"
        )


def _in_group(
    setup: Setup,
    controller: str,
    tier: Limits,
    owner_pid: int,
    limit: Callable[[cgroups.Group], str],
) -> str:
    """Make a group and limit it; :class:`OSError` where that is not allowed or not possible."""
    joint = next((group for group in setup.groups if group.hierarchy.version == 2), None)
    if joint is not None:
        if not joint.also(controller):
            raise OSError(f"no {controller} controller beside the other one")
        return limit(joint)
    group = cgroups.Group(cgroups.find(controller), f"{tier.name}-{controller}", owner_pid)
    try:
        words = limit(group)
    except OSError:
        group.remove()
        raise
    setup.groups += (group,)
    setup.joins += (group.join,)
    return words


def _why(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{Path(error.filename).name}: {what}" if error.filename else what
