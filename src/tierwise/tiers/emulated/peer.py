"""The process at the other end of a probe: it computes, or answers over a link, where it stands."""

import hashlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable

from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.linux import enter

# What a prober asks on a connection: bytes that follow, bytes to send back after them.
REQUEST = struct.Struct("!QQ")
_BLOCK = bytes(65536)
# A round of work: 0.1 to 0.2 us where the CPU has SHA instructions.
_ROUND_BYTES = 256


def serve(
    control: Channel, place: Callable[[], None] | None = None, namespace: int | None = None
) -> None:
    """Answer until ``control`` is closed, where ``place`` moves this process.

    Messages: ``{"work": n, "threads": m}`` computes ``n`` rounds in each of ``m`` threads and says
    how long that took;
    ``{"listen": host}`` opens a socket for :func:`exchange` and says which port.
    """
    if place is not None:
        place()
    if namespace is not None:
        enter(namespace)
    listener: socket.socket | None = None
    connections: list[socket.socket] = []
    while True:
        watched: list[Channel | socket.socket] = [control, *connections]
        watched += [listener] if listener else []
        readable, _, _ = select.select(watched, [], [])
        if control in readable:
            try:
                message, _ = control.receive()
            except EOFError:
                return
            if "work" in message:
                wall_s, cpu_s = work(message["work"], message["threads"])
                control.send({"wall_s": wall_s, "cpu_s": cpu_s})
            else:
                listener = socket.create_server((message["listen"], 0))
                control.send({"port": listener.getsockname()[1]})
        if listener is not None and listener in readable:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections.append(connection)
        for connection in tuple(connections):
            if connection in readable and not _answer(connection):
                connections.remove(connection)
                connection.close()


def work(rounds: int, threads: int = 1) -> tuple[float, float]:
    """Elapsed and processor seconds of a fixed piece of native work in each of ``threads``."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    others = [threading.Thread(target=_compute, args=(rounds,)) for _ in range(threads - 1)]
    for other in others:
        other.start()
    _compute(rounds)
    for other in others:
        other.join()
    return time.perf_counter() - start_s, time.process_time() - start_cpu_s


def _compute(rounds: int) -> None:
    """Hash one buffer that every process has at the same place.

    A key derivation (many short hashes in contexts of their own) was rejected: the same call took
    1.00 or 1.12 of its time by process and length, which the share was then thought to be off.
    """
    digest = hashlib.sha256()
    blocks, rest = divmod(rounds * _ROUND_BYTES, len(_BLOCK))
    for _ in range(blocks):
        digest.update(_BLOCK)
    digest.update(_BLOCK[:rest])


def exchange(connection: socket.socket, up_bytes: int, down_bytes: int) -> float:
    """Seconds to send ``up_bytes`` to a peer and get ``down_bytes`` (at least 1) back."""
    request = REQUEST.pack(up_bytes, down_bytes)
    payload = bytes(min(up_bytes, len(_BLOCK)))
    buffer = bytearray(len(_BLOCK))
    start = time.perf_counter()
    connection.sendall(request + payload)
    left = up_bytes - len(payload)
    while left > 0:
        left -= connection.send(_BLOCK[: min(left, len(_BLOCK))])
    left = down_bytes
    while left > 0:
        got = connection.recv_into(buffer)
        if got == 0:
            raise ConnectionResetError("the probe's other end closed the connection")
        left -= got
    return time.perf_counter() - start


def _answer(connection: socket.socket) -> bool:
    """Answer one request; ``False`` when the prober is gone."""
    try:
        request = connection.recv(REQUEST.size, socket.MSG_WAITALL)
        if len(request) < REQUEST.size:
            return False
        up_bytes, down_bytes = REQUEST.unpack(request)
        buffer = bytearray(len(_BLOCK))
        while up_bytes > 0:
            got = connection.recv_into(buffer, min(up_bytes, len(buffer)))
            if got == 0:
                return False
            up_bytes -= got
        while down_bytes > 0:
            down_bytes -= connection.send(_BLOCK[: min(down_bytes, len(_BLOCK))])
    except (ConnectionError, TimeoutError):
        return False
    return True
