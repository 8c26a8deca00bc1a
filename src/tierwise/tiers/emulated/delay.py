"""A link's rate and delay: packets wait in a process between two TUN devices.

Whole IP packets, so every TCP behaves as over a real distance: handshakes, acknowledgements and
windows all feel the round trip. A relay of TCP streams was rejected for namespaces: it would end
the connection in the middle.

A packet leaves when the link has had time to send all before it and itself, as a wire does it. A
token bucket (tbf) was rejected for slow links: it lets the first packet after a pause through at
once, which at 1 Mbit/s is 12 ms of each way's time.
"""

import errno
import fcntl
import math
import os
import select
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from tierwise.tiers.emulated.channel import Channel, Message
from tierwise.tiers.emulated.lateness import Lateness
from tierwise.tiers.emulated.linux import inside, wake_on_time
from tierwise.tiers.emulated.workers import start_worker, stop_worker

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MOST_PACKET_BYTES = 65536
# Packets read in one go before the due ones are delivered again. heuristic.
_BATCH = 64


class DelayLine:
    """A process that carries packets between two namespaces and holds each back for a while."""

    def __init__(self, pid: int, control: Channel, devices: tuple[int, int]) -> None:
        """See :meth:`between`."""
        self.pid = pid
        self._control = control
        self._devices = devices

    @classmethod
    def between(cls, near: int, far: int) -> Self:
        """Make TUN devices ``far-tun`` (in ``near``) and ``near-tun`` and carry packets."""
        devices = _open_tun(near, "far-tun"), _open_tun(far, "near-tun")
        pid, control = start_worker(lambda channel: _carry(channel, devices), devices)
        return cls(pid, control, devices)

    def shape(self, bytes_per_s: float | None, one_way_s: float, *, cut: bool) -> None:
        """From now on let packets through at this rate and so much later, or (``cut``) never."""
        self._control.send({"bytes_per_s": bytes_per_s, "one_way_s": one_way_s, "cut": cut})
        self._control.receive()

    def close(self) -> None:
        """End the process; the devices go with it."""
        stop_worker(self.pid, self._control)
        for device in self._devices:
            os.close(device)


def _open_tun(namespace: int, name: str) -> int:
    with inside(namespace):
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        try:
            fcntl.ioctl(device, _TUNSETIFF, request)
        except OSError:
            os.close(device)
            raise
    return device


@dataclass
class _Way:
    """One direction: what comes from ``source`` goes to ``sink``."""

    source: int
    sink: int
    byte_s: float = 0.0
    one_way_s: float = 0.0
    cut: bool = False
    free_at: float = 0.0
    # In order of time: nothing overtakes what came before, also when the delay got shorter.
    queue: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self, late_s: float) -> None:
        """Read what came, ``late_s`` ago, and say when it is through."""
        for _ in range(_BATCH):
            try:
                packet = os.read(self.source, _MOST_PACKET_BYTES)
            except BlockingIOError:
                return
            if not self.cut:
                came = time.monotonic() - late_s
                self.queue.append((self.through_at(came, len(packet)), packet))

    def through_at(self, came: float, size: int) -> float:
        """When a packet that came then is at the other end."""
        self.free_at = max(came, self.free_at) + size * self.byte_s
        due = self.free_at + self.one_way_s
        return max(due, self.queue[-1][0]) if self.queue else due

    def give(self, late_s: float) -> None:
        """Write what is due ``late_s`` from now."""
        now = time.monotonic() + late_s
        while self.queue and self.queue[0][0] <= now:
            try:
                os.write(self.sink, self.queue[0][1])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EIO:  # the device is not up (yet): the packet is lost
                    raise
            self.queue.popleft()


def _carry(control: Channel, devices: tuple[int, int]) -> None:
    wake_on_time()
    ways = _Way(devices[0], devices[1]), _Way(devices[1], devices[0])
    watched: list[int | socket.socket] = [control.socket, *devices]
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
            _shape(ways, message)
            control.send({})
        for way in ways:
            if way.source in readable:
                way.take(late.usual_s)
            way.give(late.usual_s)
        if timeout and not readable:
            late.was(time.monotonic() - (due - late.usual_s))


def _shape(ways: tuple[_Way, _Way], message: Message) -> None:
    rate = message["bytes_per_s"]
    for way in ways:
        way.byte_s = 0.0 if rate is None else 1 / rate
        way.one_way_s, way.cut, way.free_at = message["one_way_s"], message["cut"], 0.0
