"""The study's side of emulated tiers: a :class:`RunningTopology` that asks the keeper."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tierwise.errors import EnvironmentFault, TierFault, UserError
from tierwise.progress import SILENT, Progress
from tierwise.tiers import remote
from tierwise.tiers.dialling import TIMEOUT_S, dial_with
from tierwise.tiers.emulated import probing
from tierwise.tiers.emulated.channel import Channel, Message
from tierwise.tiers.emulated.cores import require_cores, share_out
from tierwise.tiers.emulated.keeper_process import KeeperProcess
from tierwise.tiers.emulated.networks import Backend, require_backend, require_shape
from tierwise.tiers.emulated.shares import CpuBackend
from tierwise.tiers.running import Probe
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology

AgentCommand = Callable[[Tier, str], list[str]]


def start(
    topology: Topology,
    command: AgentCommand,
    *,
    backend: Backend = "auto",
    cpu: CpuBackend = "auto",
    ready_within_s: float = 60.0,
    progress: Progress = SILENT,
) -> "Emulation":
    """Start the agents of all emulated tiers, inside their limits and behind their links.

    Links are unlimited until :meth:`Emulation.shape` is called. Tiers with a ``url`` are left
    where they are; with one of those in the topology the links between the emulated ones are made
    in user space, because a private namespace doesn't reach the outside.

    Args:
        topology: The chain of tiers.
        command: The agent's command line for a tier and the ``HOST:PORT`` it must listen on (port
            0: any). The host is not a loopback address where tiers have namespaces of their own,
            but nobody outside of them can reach it. The agent prints ``{"listening":
            "http://HOST:PORT"}`` as a line of its standard output when it is ready.
        backend: How links are made: ``"root"`` or ``"userns"`` (namespaces), ``"userspace"`` (a
            relay), ``"auto"``: the first of these that works.
        cpu: How CPU shares are kept: ``"occupy"``, ``"signals"``, ``"cgroup"``, ``"none"``, or
            ``"auto"``: the most exact that works.
        ready_within_s: How long an agent may take to say that it listens.
        progress: Told when tiers are up.

    Raises:
        EnvironmentFault: this machine can't do what was asked.
        TierFault: an agent ended before it was ready, or was not in time (``.tier``; ``.oom``: its
            memory limit ended it).
    """
    emulation = Emulation(
        topology, command, backend=backend, cpu=cpu, ready_within_s=ready_within_s
    )
    try:
        emulation._start()  # noqa: SLF001  the other half of the constructor
    except BaseException:
        emulation.close()
        raise
    progress.say(f"{len(topology.tiers)} tiers run; links by {emulation.record['links']}")
    return emulation


def require_possible(
    topology: Topology,
    backend: Backend = "auto",
    conditions: Sequence[NetworkCondition] = (),
) -> None:
    """Refuse what :func:`start` and :meth:`Emulation.shape` would, before anything else is done.

    Raises:
        EnvironmentFault: a tier asks for more cores than there are, links cannot be made by the
            ``backend`` that is named, or not with the jitter or the loss of a condition.
    """
    shares = {tier.name: tier.cpus for tier in topology.tiers if tier.emulated and tier.cpus}
    cores = share_out(shares)
    for name, cpus in shares.items():
        require_cores(name, cpus, cores)
    if backend in {"root", "userns"}:
        require_backend(backend)
    uneven = next(
        (
            (link, condition.shapes[link.name])
            for condition in conditions
            for link in topology.links
            if link.name in condition.shapes and condition.shapes[link.name].uneven
        ),
        None,
    )
    if uneven is not None:  # where one can be made, all can
        link, shape = uneven
        real = any(not tier.emulated for tier in topology.tiers)
        way = "userspace" if real and backend == "auto" else backend
        require_shape(link.near, link.far, shape, way)


class Emulation:
    """Emulated tiers that run. Made by :func:`start`; a context manager."""

    def __init__(
        self,
        topology: Topology,
        command: AgentCommand,
        *,
        backend: Backend,
        cpu: CpuBackend,
        ready_within_s: float,
    ) -> None:
        """See :func:`start`."""
        self.topology = topology
        self._command = command
        self._emulated = tuple(tier for tier in topology.tiers if tier.emulated)
        self._real = {tier.name for tier in topology.tiers if not tier.emulated}
        self._backend: Backend = "userspace" if self._real and backend == "auto" else backend
        self._cpu: CpuBackend = cpu
        self._ready_within_s = ready_within_s
        self._keeper: KeeperProcess | None = None
        self._record: dict[str, str] = {}
        self._listen: dict[str, str] = {}
        self._relays: dict[str, str] = {}
        self._urls: dict[str, str] = {}
        self._shapes: dict[str, LinkShape] = {}
        self.kept_awake = 0

    @property
    def record(self) -> Mapping[str, str]:
        """See :class:`RunningTopology`."""
        return MappingProxyType(self._record)

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the links that are emulated: those with an emulated tier at both ends."""
        return tuple(
            link.name
            for link in self.topology.links
            if link.near not in self._real and link.far not in self._real
        )

    def url(self, source: str, target: str) -> str:
        """See :class:`RunningTopology`."""
        self.topology.tier(source)
        tier = self.topology.tier(target)
        if tier.url is not None:
            return tier.url.rstrip("/")
        if source in self._real:
            raise EnvironmentFault(
                f"Tier {source} is a real machine, and {target} is emulated here, where {source} "
                "can't reach it.",
                hint="Only a tier at the far end of the chain can be real while nearer ones are "
                "emulated.",
            )
        direct = self._urls[target]
        relay = self._relays.get(f"{source}>{target}")
        return f"{urlsplit(direct).scheme}://{relay}" if relay else direct

    def dial(
        self, source: str, host: str, port: int, timeout_s: float = TIMEOUT_S
    ) -> socket.socket:
        """See :class:`RunningTopology`."""
        tier = self.topology.tier(source)
        if not tier.emulated:
            raise UserError(f"No connection can be made from {source}: it is a real machine.")
        # The socket belongs to the tier's namespace for good; connecting it can wait until it is
        # here, so that a slow link holds up nobody else.
        _, (descriptor,) = self._ask("socket", tier=source)
        return dial_with(socket.socket(fileno=descriptor), host, port, timeout_s)

    def shape(self, condition: NetworkCondition | None) -> None:
        """See :class:`RunningTopology`."""
        shapes = dict(condition.shapes) if condition else {}
        known = {link.name for link in self.topology.links}
        for name, shape in shapes.items():
            if name in known - set(self.links):
                remote.check_real_link(name, shape)
            if name not in known:
                raise UserError(
                    f"There is no link {name!r}.",
                    hint=f"The links are {', '.join(sorted(known))}.",
                )
        wanted = {name: shapes.get(name, LinkShape()) for name in self.links}
        self._ask("shape", shapes={name: asdict(shape) for name, shape in wanted.items()})
        self._shapes = wanted

    def probe(self, condition: NetworkCondition) -> tuple[Probe, ...]:
        """See :class:`RunningTopology`. Takes at most 2 s a link; agents should be idle."""
        self.shape(condition)
        probes = [probing.probe_cpu(self, tier) for tier in self._emulated if tier.cpus is not None]
        for link in self.topology.links:
            if link.name in self.links:
                probes += probing.probe_link(self, link, self._shapes[link.name])
        return tuple(probes)

    def alive(self, tier: str) -> bool:
        """See :class:`RunningTopology`."""
        found = self.topology.tier(tier)
        if found.url is not None:
            return remote.answers(found.url)
        return bool(self._status(tier)["alive"])

    def restart(self, tier: str) -> None:
        """See :class:`RunningTopology`."""
        self._emulated_tier(tier)
        self._spawn([self.topology.tier(tier)])

    def kill(self, tier: str) -> None:
        """Stop the tier's agent, as a fault would."""
        self._emulated_tier(tier)
        self._ask("kill", tier=tier)

    def peak_memory_bytes(self, tier: str) -> int | None:
        """See :class:`RunningTopology`."""
        if tier in self._real:
            return None
        peak: int | None = self._status(tier)["peak_memory_bytes"]
        return peak

    def oom_killed(self, tier: str) -> bool:
        """See :class:`RunningTopology`."""
        return tier not in self._real and bool(self._status(tier)["oom"])

    def dropped_packets(self) -> dict[str, int]:
        """See :class:`RunningTopology`."""
        return dict(self._ask("dropped")[0]["dropped"])

    def cut(self, link: str) -> None:
        """See :class:`RunningTopology`."""
        self._emulated_link(link)
        self._ask("cut", link=link, cut=True)

    def mend(self, link: str) -> None:
        """See :class:`RunningTopology`."""
        self._emulated_link(link)
        self._ask("cut", link=link, cut=False)

    def close(self) -> None:
        """See :class:`RunningTopology`."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()

    def __enter__(self) -> Self:
        """Nothing more to do: :func:`start` did it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove everything."""
        self.close()

    def start_peer(self, tier: str, *, limited: bool = True) -> tuple[int, Channel]:
        """A process for probes in ``tier``, or free on the tier's cores; see :mod:`.peer`."""
        reply, (descriptor,) = self._ask("probe", tier=tier, limited=limited)
        return reply["pid"], Channel(socket.socket(fileno=descriptor))

    def stop_peer(self, pid: int, channel: Channel) -> None:
        """End a process of :meth:`start_peer`."""
        channel.close()
        self._ask("probe done", pid=pid)

    def host(self, tier: str) -> str:
        """The address on which processes of ``tier`` listen."""
        return urlsplit(self._urls[tier]).hostname or ""

    def probe_address(self, link: str, far: str, port: int) -> tuple[str, int]:
        """Where a peer that listens on ``port`` in ``far`` is reached across ``link``."""
        reply, _ = self._ask("probe route", link=link, tier=far, port=port)
        return reply["host"], reply["port"]

    def _start(self) -> None:
        self._keeper = KeeperProcess()
        reply, _ = self._ask(
            "setup",
            tiers=[
                {"name": tier.name, "cpus": tier.cpus, "memory_bytes": tier.memory_bytes}
                for tier in self._emulated
            ],
            backend=self._backend,
            cpu=self._cpu,
            links=self.links,
            owner_pid=os.getpid(),
        )
        self._record = reply["record"]
        self.kept_awake = reply["awake"]
        for name in self._real:
            self._record[f"cpu@{name}"] = self._record[f"memory@{name}"] = "a real machine"
        self._listen, self._relays = reply["listen"], reply["relays"]
        self._spawn(self._emulated)

    def _spawn(self, tiers: Sequence[Tier]) -> None:
        argv = {
            tier.name: self._command(
                tier,
                urlsplit(self._urls[tier.name]).netloc
                if tier.name in self._urls
                else self._listen[tier.name],
            )
            for tier in tiers
        }
        reply, _ = self._ask("spawn", argv=argv, ready_within_s=self._ready_within_s)
        for name, agent in reply["agents"].items():
            if agent["listening"] is None:
                limit = self.topology.tier(name).memory_bytes
                why = f" Its memory limit of {limit} bytes ended it." if agent["oom"] else ""
                what = (
                    f"was not ready within {self._ready_within_s:g} s"
                    if agent["alive"]
                    else "ended before it was ready"
                )
                raise TierFault(
                    f"The agent of tier {name} {what}.{why} It said:\n"
                    f"{agent['said'] or '(nothing)'}",
                    hint="Run its command by hand to see more: " + " ".join(argv[name]),
                    tier=name,
                    oom=agent["oom"],
                )
            self._urls[name] = agent["listening"].rstrip("/")

    def _status(self, tier: str) -> Message:
        self._emulated_tier(tier)
        return self._ask("status", tier=tier)[0]

    def _emulated_tier(self, tier: str) -> None:
        if not self.topology.tier(tier).emulated:
            raise UserError(f"Tier {tier} is a real machine, which is not ours to start or stop.")

    def _emulated_link(self, link: str) -> None:
        if link not in self.links:
            raise UserError(
                f"There is no emulated link {link!r}.",
                hint=f"Those are: {', '.join(self.links) or 'none'}.",
                link=link,
            )

    def _ask(self, what: str, **arguments: Any) -> tuple[Message, list[int]]:
        """One request to the keeper and its reply."""
        if self._keeper is None:
            raise EnvironmentFault("The emulated tiers are closed.")
        return self._keeper.ask(what, **arguments)
