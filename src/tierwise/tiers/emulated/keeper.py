"""The keeper: one process that makes, holds and removes everything a run of emulated tiers needs.

It is a process of its own because moving between namespaces needs a single-threaded one, and
because it outlives the study for just long enough to clean up: it ends, and everything with it,
as soon as the channel to the study closes, however the study died.

Run as ``python -m tierwise.tiers.emulated.keeper DESCRIPTOR``.
"""

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from tierwise.errors import EnvironmentFault, TierwiseError
from tierwise.tiers.emulated import cgroups, peer
from tierwise.tiers.emulated.agents import Agent, Limits
from tierwise.tiers.emulated.channel import Channel, Message
from tierwise.tiers.emulated.networks import Network, make_network
from tierwise.tiers.emulated.shares import CpuShares
from tierwise.tiers.emulated.workers import start_worker
from tierwise.tiers.topology import LinkShape

_WATCH_S = 0.02  # between two looks at memory that no cgroup limits. heuristic.
_log = logging.getLogger(__name__)
Answer = tuple[Message, tuple[int, ...]]


class Keeper:
    """Obeys the study's process until it is gone."""

    def __init__(self, control: Channel) -> None:
        """Obey whoever is at the other end of ``control``."""
        self._control = control
        self._network: Network | None = None
        self._shares: CpuShares | None = None
        self._agents: dict[str, Agent] = {}
        self._awaited: tuple[int, tuple[str, ...], float] | None = None
        self._probes: dict[int, str] = {}
        self._commands: dict[str, Callable[[Message], Answer | None]] = {
            "setup": self._setup,
            "spawn": self._spawn,
            "socket": self._socket,
            "shape": self._shape,
            "cut": self._cut,
            "dropped": self._dropped,
            "status": self._status,
            "kill": self._kill,
            "probe": self._probe,
            "probe route": self._probe_route,
            "probe done": self._probe_done,
        }

    def run(self) -> None:
        """Serve until the channel closes, then remove everything."""
        try:
            while self._turn():
                pass
        finally:
            self._close()

    def _turn(self) -> bool:
        pipes = {pipe: agent for agent in self._agents.values() for pipe in agent.pipes}
        # an agent's end shows on no descriptor once its pipes are closed
        polled = self._awaited or any(agent.watched for agent in self._agents.values())
        timeout = 0 if self._control.buffered else _WATCH_S if polled else None
        control = self._control.fileno()
        readable, _, _ = select.select([control, *pipes], [], [], timeout)
        for pipe in readable:
            if pipe != control:
                pipes[pipe].read(pipe)
        for agent in self._agents.values():
            agent.watch_memory()
        self._answer_spawn()
        if control in readable or self._control.buffered:
            try:
                message, _ = self._control.receive()
            except EOFError:
                return False
            self._obey(message)
        return True

    def _obey(self, message: Message) -> None:
        try:
            answer = self._commands[message["do"]](message)
        except TierwiseError as error:
            answer = {"error": error.message, "hint": error.hint}, ()
        except OSError as error:
            _log.debug("%s failed", message["do"], exc_info=True)
            answer = {"error": f"{message['do']}: {error}", "hint": None}, ()
        if answer is not None:
            reply, descriptors = answer
            self._control.send({"id": message["id"], **reply}, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)

    def _setup(self, message: Message) -> Answer:
        cgroups.remove_stale()
        tiers = [Limits(**tier) for tier in message["tiers"]]
        names = [tier.name for tier in tiers]
        # Groups first: inside a user namespace it is too late to ask for them.
        self._shares = CpuShares(message["cpu"], tiers)
        for tier in tiers:
            limits = self._shares.prepare(tier, message["owner_pid"])
            self._agents[tier.name] = Agent(tier, limits)
        # Before a user namespace is entered: inside it nobody has real-time priority.
        self._shares.apply(self._agents.values(), self._probes)
        awake = self._shares.keep_awake()
        # Links beside the study, not on a tier's core: workers and agents start where we are, and
        # agents then go to their own.
        self._shares.stand_aside()
        self._network = make_network(names, message["links"], message["backend"])
        for name, agent in self._agents.items():
            agent.namespace = self._network.namespace(name)
        record = {"links": self._network.backend}
        for name, agent in self._agents.items():
            record[f"cpu@{name}"] = agent.setup.cpu_backend
            record[f"memory@{name}"] = agent.setup.memory_backend
        if awake:
            record["kept awake"] = f"core {', '.join(map(str, awake))}"
        return {
            "record": record,
            "awake": len(awake),
            "listen": {name: self._network.listen(name) for name in names},
            "relays": self._network.relays(),
        }, ()

    def _spawn(self, message: Message) -> None:
        for tier, argv in message["argv"].items():
            self._agents[tier].start(argv)
        self._need_shares().apply(self._agents.values(), self._probes)
        deadline = time.monotonic() + message["ready_within_s"]
        self._awaited = message["id"], tuple(message["argv"]), deadline

    def _answer_spawn(self) -> None:
        """Answer a ``spawn`` once each of its agents listens or is dead, or time is up."""
        if self._awaited is None:
            return
        number, tiers, deadline = self._awaited
        agents = [self._agents[tier] for tier in tiers]
        late = time.monotonic() > deadline
        if not late and not all(agent.listening or not agent.alive for agent in agents):
            return
        self._awaited = None
        for agent in agents:
            if agent.listening and self._network:
                self._network.aim(agent.limits.name, agent.listening)
        self._control.send(
            {
                "id": number,
                "agents": {
                    agent.limits.name: {
                        "listening": agent.listening,
                        "said": agent.last_words(),
                        "oom": agent.oom_killed,
                        "alive": agent.alive,
                    }
                    for agent in agents
                },
            }
        )

    def _socket(self, message: Message) -> Answer:
        return {}, (self._need_network().new_socket(message["tier"]).detach(),)

    def _shape(self, message: Message) -> Answer:
        shapes = {name: LinkShape(**shape) for name, shape in message["shapes"].items()}
        self._need_network().shape(shapes)
        return {}, ()

    def _cut(self, message: Message) -> Answer:
        self._need_network().set_cut(message["link"], cut=message["cut"])
        return {}, ()

    def _dropped(self, _: Message) -> Answer:
        return {"dropped": self._need_network().dropped_packets()}, ()

    def _status(self, message: Message) -> Answer:
        agent = self._agents[message["tier"]]
        return {
            "alive": agent.alive,
            "pid": agent.pid,
            "oom": agent.oom_killed,
            "peak_memory_bytes": agent.peak_memory_bytes,
            "said": agent.last_words(),
        }, ()

    def _kill(self, message: Message) -> Answer:
        self._agents[message["tier"]].stop()
        return {}, ()

    def _probe(self, message: Message) -> Answer:
        """Start a probe's process: inside a tier's limits, or beside them on the same cores."""
        agent = self._agents[message["tier"]]
        limited, namespace = message["limited"], agent.namespace
        place = agent.setup.enter if limited else agent.setup.pin
        pid, channel = start_worker(
            lambda theirs: peer.serve(theirs, place, namespace),
            () if namespace is None else (namespace,),
        )
        self._probes[pid] = agent.limits.name if limited else ""
        self._need_shares().apply(self._agents.values(), self._probes)
        return {"pid": pid}, (channel.socket.detach(),)

    def _probe_route(self, message: Message) -> Answer:
        host, port = self._need_network().probe_address(
            message["link"], message["tier"], message["port"]
        )
        return {"host": host, "port": port}, ()

    def _probe_done(self, message: Message) -> Answer:
        pid = message["pid"]
        self._probes.pop(pid, None)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self._need_shares().apply(self._agents.values(), self._probes)
        return {}, ()

    def _need_network(self) -> Network:
        if self._network is None:
            raise EnvironmentFault("The tiers have not been set up.")
        return self._network

    def _need_shares(self) -> CpuShares:
        if self._shares is None:
            raise EnvironmentFault("The tiers have not been set up.")
        return self._shares

    def _close(self) -> None:
        """Remove everything; a step that fails doesn't keep the others from being done."""
        steps: list[Callable[[], Any]] = [agent.stop for agent in self._agents.values()]
        steps += [partial(os.kill, pid, signal.SIGKILL) for pid in self._probes]
        if self._network:
            steps.append(self._network.close)
        if self._shares:
            steps.append(self._shares.close)
        steps += [agent.remove_groups for agent in self._agents.values()]
        for step in steps:
            try:
                step()
            except OSError:
                _log.exception("while the emulated tiers were removed")


def main() -> None:
    """Take the descriptor from the command line and keep."""
    signal.signal(signal.SIGTERM, _leave)
    logging.basicConfig(level=os.environ.get("TIERWISE_KEEPER_LOG", "WARNING"))
    Keeper(Channel(socket.socket(fileno=int(sys.argv[1])))).run()


def _leave(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(0)


if __name__ == "__main__":
    main()
