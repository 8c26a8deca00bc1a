"""Whole packets out of a network namespace and into it, by packet sockets (man 7 packet).

Needs only what everybody has in a namespace that they made. TUN devices were rejected: many a
container has no ``/dev/net/tun``, and on some systems it is root's.
"""

import ctypes
import errno
import fcntl
import mmap
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

ETHERNET_BYTES = 14
# The kernel writes packets into a ring that we share with it, each into a frame. A socket's buffer
# is too small for a window that comes at once, and only the machine's root may make it larger. Of
# four connections over 200 Mbit/s and 50 ms up to 9,152 packets were in the ring (not yet taken).
_FRAME_BYTES = 2048
_BLOCK_BYTES = 2**18
_RING_BYTES = 32 * 2**20

# From linux/if_packet.h, if_ether.h, filter.h, ethtool.h and sockios.h.
_SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION, _PACKET_QDISC_BYPASS = 5, 6, 10, 20
_TPACKET_V2, _TP_STATUS_USER = 1, 1
_ETH_P_ALL, _ETH_P_IP, _PACKET_OUTGOING = 3, 0x0800, 4
_SO_ATTACH_FILTER = 26
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
# A frame's state; then length, captured length, offsets of packet and IP, wall clock in s and ns.
_STATE = struct.Struct("=I")
_HEADER = struct.Struct("=4x4xIHHII")
_STATISTICS = struct.Struct("=4xI")  # of packets, those that were dropped
# What the namespace sends, not what we put into it; and IP only: no neighbour is ever looked for.
_LOAD, _EQUAL, _RETURN = 0x28, 0x15, 0x06  # the 16-bit load, the jump if equal
_PROTOCOL, _TYPE = 0xFFFFF000, 0xFFFFF004  # of a packet, not in it
_SENT_IP = (
    (_LOAD, 0, 0, _TYPE),
    (_EQUAL, 0, 3, _PACKET_OUTGOING),
    (_LOAD, 0, 0, _PROTOCOL),
    (_EQUAL, 0, 1, _ETH_P_IP),
    (_RETURN, 0, 0, 0xFFFF),
    (_RETURN, 0, 0, 0),
)


class PacketPort:
    """Takes what a namespace sends by one end of a veth pair, puts packets in by the other."""

    def __init__(self, outer: str, inner: str) -> None:
        """Of the namespace that we are in. ``outer`` has the routes; :class:`OSError`."""
        self._taking = _packet_socket()
        self._putting = _packet_socket()
        try:
            self._ring = _ring(self._taking)
            self._taking.bind((outer, _ETH_P_ALL))
            self._putting.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
            self._putting.bind((inner, 0))
            self._putting.settimeout(0)
        except OSError:
            self._taking.close()
            self._putting.close()
            raise
        self._at = 0
        self._last_sent = 0.0
        self._dropped = 0

    def fileno(self) -> int:
        """Readable when packets wait."""
        return self._taking.fileno()

    def descriptors(self) -> tuple[int, int]:
        """What a process needs that is forked to use the port."""
        return self._taking.fileno(), self._putting.fileno()

    def take(self, most: int) -> list[tuple[float, bytes]]:
        """Packets with their Ethernet headers, and when each was sent, on the monotonic clock."""
        offset_s, now = _monotonic_minus_wall_s(), time.monotonic()
        # States first, packets after: a processor that reorders reads (ARM) must not see a new
        # state and the old packet behind it, and does not look ahead so far. heuristic.
        ready, at = 0, self._at
        while ready < most and _STATE.unpack_from(self._ring, at)[0] & _TP_STATUS_USER:
            ready += 1
            at = (at + _FRAME_BYTES) % _RING_BYTES
        found = []
        for _ in range(ready):
            at = self._at
            size, start, _, seconds, nanoseconds = _HEADER.unpack_from(self._ring, at)
            packet = self._ring[at + start : at + start + size]
            _STATE.pack_into(self._ring, at, 0)
            # In order, and not later than now, whatever became of the wall clock meanwhile.
            sent = min(now, seconds + nanoseconds * 1e-9 + offset_s)
            self._last_sent = max(self._last_sent, sent)
            found.append((self._last_sent, packet))
            self._at = (at + _FRAME_BYTES) % _RING_BYTES
        return found

    def dropped(self) -> int:
        """Packets so far that found the ring full: they are lost."""
        said = self._taking.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self._dropped += _STATISTICS.unpack(said)[0]  # since it was asked last
        return self._dropped

    def put(self, packet: bytes) -> None:
        """Have the namespace receive a packet; :class:`BlockingIOError`: not yet."""
        try:
            self._putting.send(packet)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise BlockingIOError from error
            if error.errno != errno.ENETDOWN:  # the device is not up (yet): the packet is lost
                raise

    def close(self) -> None:
        """In this process; one that was forked keeps it."""
        self._ring.close()
        self._taking.close()
        self._putting.close()


def send_as_on_a_wire(device: str) -> None:
    """Have packets leave ``device`` with their checksums, and none longer than its MTU."""
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP16x", device.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, _naming("ethtool"):
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


def _monotonic_minus_wall_s() -> float:
    """One clock minus the other; of three readings the one that was interrupted least."""
    gaps = []
    for _ in range(3):
        before, wall = time.monotonic(), time.time()
        gaps.append((time.monotonic() - before, before - wall))
    return min(gaps)[1]


@contextmanager
def _naming(feature: str) -> Iterator[None]:
    """Have the kernel's refusal say what was asked for."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{feature}: {error.strerror}") from error


def _packet_socket() -> socket.socket:
    with _naming("packet sockets"):
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)


def _ring(of: socket.socket) -> mmap.mmap:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _SENT_IP))
    program = struct.pack("HP", len(_SENT_IP), ctypes.addressof(code))
    blocks, frames = _RING_BYTES // _BLOCK_BYTES, _RING_BYTES // _FRAME_BYTES
    size = struct.pack("=IIII", _BLOCK_BYTES, blocks, _FRAME_BYTES, frames)
    with _naming(f"a ring of {_RING_BYTES >> 20} MiB for packets"):
        of.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        of.setsockopt(_SOL_PACKET, _PACKET_RX_RING, size)
        of.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        return mmap.mmap(of.fileno(), _RING_BYTES)
