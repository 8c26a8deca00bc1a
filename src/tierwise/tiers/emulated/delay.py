"""A link's rate and delay: packets wait in a process between two namespaces.

Whole IP packets, so every TCP behaves as over a real distance: handshakes, acknowledgements and
windows all feel the round trip. A relay of TCP streams was rejected for namespaces: it would end
the connection in the middle.

A packet leaves when the link has had time to send all before it and itself, as a wire does it. A
token bucket (tbf) was rejected for slow links: it lets the first packet after a pause through at
once, which at 1 Mbit/s is 12 ms of each way's time.
"""

import math
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from tierwise.errors import EnvironmentFault
from tierwise.tiers.emulated.channel import Channel, Message
from tierwise.tiers.emulated.lateness import Lateness
from tierwise.tiers.emulated.linux import wake_on_time
from tierwise.tiers.emulated.packets import ETHERNET_BYTES, PacketPort
from tierwise.tiers.emulated.workers import start_worker, stop_worker

# Packets taken in one go before the due ones are delivered again. heuristic.
_BATCH = 64


class DelayLine:
    """A process that carries packets between two namespaces and holds each back for a while."""

    def __init__(self, pid: int, control: Channel) -> None:
        """See :meth:`between`."""
        self.pid = pid
        self._control = control

    @classmethod
    def between(cls, near: PacketPort, far: PacketPort) -> Self:
        """Take over the ports and carry packets from each to the other."""
        descriptors = (*near.descriptors(), *far.descriptors())
        pid, control = start_worker(lambda channel: _carry(channel, near, far), descriptors)
        near.close()
        far.close()
        return cls(pid, control)

    def shape(self, bytes_per_s: float | None, one_way_s: float, *, cut: bool) -> None:
        """From now on let packets through at this rate and so much later, or (``cut``) never."""
        self._ask({"bytes_per_s": bytes_per_s, "one_way_s": one_way_s, "cut": cut})

    def dropped_packets(self) -> int:
        """Packets that were lost so far because the process did not get to take them."""
        return int(self._ask({})["dropped"])

    def close(self) -> None:
        """End the process."""
        stop_worker(self.pid, self._control)

    def _ask(self, message: Message) -> Message:
        try:
            self._control.send(message)
            return self._control.receive()[0]
        except (OSError, EOFError) as error:
            raise EnvironmentFault(
                "The process that carries a link's packets died.",
                hint="Run again; what is finished is kept.",
            ) from error


@dataclass
class _Way:
    """One direction: what comes from ``source`` goes to ``sink``."""

    source: PacketPort
    sink: PacketPort
    byte_s: float = 0.0
    one_way_s: float = 0.0
    cut: bool = False
    free_at: float = 0.0
    # In order of time: nothing overtakes what came before, also when the delay got shorter.
    queue: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self) -> None:
        """Take what was sent and say when it is through."""
        for sent, packet in self.source.take(_BATCH):
            if not self.cut:
                size = len(packet) - ETHERNET_BYTES
                self.queue.append((self.through_at(sent, size), packet))

    def through_at(self, sent: float, size: int) -> float:
        """When a packet that was sent then is at the other end."""
        self.free_at = max(sent, self.free_at) + size * self.byte_s
        due = self.free_at + self.one_way_s
        return max(due, self.queue[-1][0]) if self.queue else due

    def give(self, late_s: float) -> None:
        """Deliver what is due ``late_s`` from now."""
        now = time.monotonic() + late_s
        while self.queue and self.queue[0][0] <= now:
            try:
                self.sink.put(self.queue[0][1])
            except BlockingIOError:
                return
            self.queue.popleft()


def _carry(control: Channel, near: PacketPort, far: PacketPort) -> None:
    wake_on_time()
    ways = _Way(near, far), _Way(far, near)
    watched: list[socket.socket | PacketPort] = [control.socket, near, far]
    late = Lateness()
    while True:
        due = min((way.queue[0][0] for way in ways if way.queue), default=math.inf)
        timeout = None if due == math.inf else max(0.0, due - late.usual_s - time.monotonic())
        readable, _, _ = select.select(watched, [], [], timeout)
        if control.socket in readable:
            try:
                message, _ = control.receive()
            except EOFError:
                return
            if message:
                _shape(ways, message)
            control.send({"dropped": near.dropped() + far.dropped()})
        for way in ways:
            if way.source in readable:
                way.take()
            way.give(late.usual_s)
        if timeout and not readable:
            late.was(time.monotonic() - (due - late.usual_s))


def _shape(ways: tuple[_Way, _Way], message: Message) -> None:
    rate = message["bytes_per_s"]
    for way in ways:
        way.byte_s = 0.0 if rate is None else 1 / rate
        way.one_way_s, way.cut, way.free_at = message["one_way_s"], message["cut"], 0.0
