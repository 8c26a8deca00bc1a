"""Delay where the kernel has no netem: packets wait in a process between two TUN devices.

Whole IP packets, so every TCP behaves as over a real distance: handshakes, acknowledgements and
windows all feel the round trip. A relay of TCP streams was rejected for namespaces: it would end
the connection in the middle.
"""

import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections import deque
from typing import Self

from tierwise.tiers.emulated.channel import Channel
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

    def set_delay(self, one_way_s: float) -> None:
        """Hold packets that come from now on back for ``one_way_s``."""
        self._control.send({"one_way_s": one_way_s})
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


def _carry(control: Channel, devices: tuple[int, int]) -> None:
    wake_on_time()
    one_way_s = 0.0
    other = {devices[0]: devices[1], devices[1]: devices[0]}
    # One queue per way, each in order of time: the delay is the same for all its packets.
    queues: dict[int, deque[tuple[float, bytes]]] = {device: deque() for device in devices}
    watched: list[int | socket.socket] = [control.socket, *devices]
    while True:
        wake = min((queue[0][0] for queue in queues.values() if queue), default=None)
        timeout = None if wake is None else max(0.0, wake - time.monotonic())
        readable, _, _ = select.select(watched, [], [], timeout)
        if control.socket in readable:
            try:
                message, _ = control.receive()
            except EOFError:
                return
            one_way_s = message["one_way_s"]
            control.send({})
        for device in devices:
            if device in readable:
                _take(device, queues[other[device]], one_way_s)
        for device, queue in queues.items():
            _give(device, queue)


def _take(device: int, queue: deque[tuple[float, bytes]], one_way_s: float) -> None:
    for _ in range(_BATCH):
        try:
            packet = os.read(device, _MOST_PACKET_BYTES)
        except BlockingIOError:
            return
        due = time.monotonic() + one_way_s
        # never overtake what came before, also when the delay got shorter
        queue.append((max(due, queue[-1][0]) if queue else due, packet))


def _give(device: int, queue: deque[tuple[float, bytes]]) -> None:
    now = time.monotonic()
    while queue and queue[0][0] <= now:
        try:
            os.write(device, queue[0][1])
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # the device is not up (yet): the packet is lost
                raise
        queue.popleft()
