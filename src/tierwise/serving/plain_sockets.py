"""Blocking sockets whose timeouts the kernel keeps.

A timeout of Python's own (``settimeout``) makes a socket non-blocking and polls before every call:
for a large body that is a system call and a wake-up more for each piece that arrives.
"""

import socket
import struct
from collections.abc import Callable, Sequence

from tierwise.serving.strict_json import Buffer

_TIMEVAL = struct.Struct("@ll")
# One system call gathers at most this many buffers (IOV_MAX is 1024 on Linux).
_GATHER = 512


def limit_waits(sock: socket.socket, seconds: float) -> None:
    """Let no call on ``sock`` wait for longer (0: for ever); one that did raises BlockingIOError.

    A call that has moved some bytes by then returns how many.
    """
    whole = int(seconds)
    # Under a microsecond would be 0: for ever.
    part = max(int((seconds - whole) * 1e6), int(seconds > 0))
    value = _TIMEVAL.pack(whole, part)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def send_all(sock: socket.socket, buffers: Sequence[Buffer], go_on: Callable[[], None]) -> None:
    """Write all of ``buffers``, in one call where the kernel takes them at once.

    ``go_on`` is called after every call that wrote less; it raises where there is no more time.
    """
    left = sum(map(len, buffers))
    while left := left - (sent := _send(sock, buffers[:_GATHER])):
        buffers = _without(buffers, sent)
        go_on()


def _send(sock: socket.socket, buffers: Sequence[Buffer]) -> int:
    try:
        return sock.sendmsg(buffers)
    except BlockingIOError:
        return 0


def _without(buffers: Sequence[Buffer], sent: int) -> list[Buffer]:
    views: list[Buffer] = []
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        if sent < len(view):
            views.append(view[sent:])
        sent -= min(sent, len(view))
    return views
