"""Threads that stay with one busy connection each, so that its requests change no thread.

Handing a request from the event loop to a worker and its answer back costs two wake-ups, more
than everything else that the agent does for a small request (docs/design.md, "HTTP"). So a
connection that has sent an inference request gets a lane, if one is free: a thread that reads the
next request, runs it and writes the answer. Only the plain case is served there: a well-formed,
complete inference request with Content-Length. Whatever is not plain goes back to the event loop
as it came, with what has been read of it, so rules and refusals exist once.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tierwise.serving.codec import Buffer, body_bytes
from tierwise.serving.faults import Refusal
from tierwise.serving.http_head import Head, HttpRequest, HttpResponse, parse_head, response_head
from tierwise.serving.limits import Limits

# heuristic: more connections than this are not busy at the same time on a machine with few cores.
_LANES = 8
# heuristic: a study's blocks come back to an agent within seconds.
_IDLE_S = 30.0
# How soon a lane sees that the agent is stopping.
_LOOK_UP_S = 0.25
# A body that stops coming for so long is read by the event loop, which has time for slow ones.
_STALL_MS = 1000
# A lane's bodies aren't counted with the others, so they may not be of any size.
_MOST_BODY_BYTES = 64 * 2**20
_HEAD_BYTES = 8192
_JOIN_BYTES = 64 * 1024

Answer = Callable[[HttpRequest, socket.socket], HttpResponse]


@dataclass(frozen=True)
class Leftover:
    """What a lane gives back with its connection.

    Attributes:
        data: Bytes that were read and not served.
        closed: Whether the client has left, or cannot be written to.
    """

    data: Buffer = b""
    closed: bool = False


class Lanes:
    """The lanes of one agent."""

    def __init__(self, answer: Answer, limits: Limits) -> None:
        """Let lanes answer by ``answer``, which never raises."""
        self.answer = answer
        self.limits = limits
        self.closing = False
        self._lock = threading.Lock()
        self._used = 0

    def open(self, fileno: int, give_back: Callable[[Leftover], object]) -> "Lane | None":
        """A lane for a connection, or ``None`` where all are taken."""
        with self._lock:
            if self._used >= _LANES or self.closing:
                return None
            self._used += 1
        return Lane(self, socket.socket(fileno=os.dup(fileno)), give_back)

    def leave(self) -> None:
        """A lane is free again."""
        with self._lock:
            self._used -= 1

    def close(self) -> None:
        """Make every lane give its connection back as soon as it is idle."""
        self.closing = True


class Lane:
    """One connection's thread."""

    def __init__(
        self, lanes: Lanes, sock: socket.socket, give_back: Callable[[Leftover], object]
    ) -> None:
        """Serve ``sock``, a descriptor of its own, until it goes back."""
        self._lanes = lanes
        self._sock = sock
        self._give_back = give_back
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._head = bytearray(_HEAD_BYTES)
        self._have = 0

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="lane", daemon=True).start()

    def _run(self) -> None:
        leftover = Leftover(closed=True)
        try:
            leftover = self._serve()
        except OSError:
            # A reset by the client; the transport finds out by itself, or is closed for us.
            leftover = Leftover(closed=True)
        finally:
            self._sock.close()
            self._lanes.leave()
            self._give_back(leftover)

    def _serve(self) -> Leftover:
        while True:
            if self._have == 0 and not self._await_request():
                return Leftover()
            head = self._read_head()
            if head is None:
                closed = self._have == 0
                return Leftover(bytes(self._head[: self._have]), closed=closed)
            parsed = self._plain(head)
            if parsed is None:
                return Leftover(bytes(self._head[: self._have]))
            missing = self._read_body(parsed, head)
            if missing is not None:
                return missing
            response = self._lanes.answer(parsed.request, self._sock)
            self._write(response)

    def _await_request(self) -> bool:
        end = time.perf_counter() + _IDLE_S
        while not self._poll.poll(_LOOK_UP_S * 1000):
            if self._lanes.closing or time.perf_counter() > end:
                return False
        return True

    def _read_head(self) -> int | None:
        """Where the head ends; ``None``: it doesn't come, or the client has left."""
        while True:
            end = self._head.find(b"\r\n\r\n", 0, self._have)
            if end >= 0:
                return end + 4
            if self._have == len(self._head) or not self._poll.poll(_STALL_MS):
                return None
            count = self._sock.recv_into(memoryview(self._head)[self._have :])
            if count == 0:
                self._have = 0
                return None
            self._have += count

    def _plain(self, end: int) -> Head | None:
        """The parsed head, if the request is one that is served here."""
        try:
            head = parse_head(memoryview(self._head)[:end])
        except Refusal:
            return None
        request = head.request
        plain = (
            request.method == "POST"
            and request.path.endswith("/infer")
            and head.keep_alive
            and not head.expects_continue
            and head.length is not None
            and 0 < head.length <= min(self._lanes.limits.max_body_bytes, _MOST_BODY_BYTES)
        )
        return head if plain and not self._lanes.closing else None

    def _read_body(self, head: Head, end: int) -> Leftover | None:
        """Fill in the request's body; what is to be given back where it doesn't come."""
        length = head.length
        assert length is not None
        body = np.empty(length, np.uint8).data
        have = min(self._have - end, length)
        body[:have] = memoryview(self._head)[end : end + have]
        further = bytes(memoryview(self._head)[end + have : self._have])
        started = bytes(memoryview(self._head)[:end])
        sock = self._sock
        while have < length:
            try:
                count = sock.recv_into(body[have:])
            except BlockingIOError:
                if not self._poll.poll(_STALL_MS):
                    return Leftover(b"".join([started, body[:have]]))
                continue
            if count == 0:
                return Leftover(closed=True)
            have += count
        request = head.request
        request.body = body
        request.received_at = time.perf_counter()
        request.wire_bytes += length
        self._head[: len(further)] = further
        self._have = len(further)
        return None

    def _write(self, response: HttpResponse) -> None:
        """Write the whole answer; raises :class:`OSError` where the client doesn't read it."""
        size = body_bytes(response.body)
        limits = self._lanes.limits
        end = time.perf_counter() + limits.write_timeout_s + size / limits.min_body_bytes_per_s
        head = response_head(response, close=False)
        if size <= _JOIN_BYTES:
            views = [memoryview(b"".join([head, *response.body]))]
        else:
            views = [memoryview(head), *(memoryview(b).cast("B") for b in response.body if len(b))]
        ready = select.poll()
        ready.register(self._sock, select.POLLOUT)
        while views:
            try:
                sent = self._sock.sendmsg(views[:512])
            except BlockingIOError:
                if not ready.poll(max(0.0, end - time.perf_counter()) * 1000):
                    raise TimeoutError("the client does not read its answer") from None
                continue
            while sent:
                if sent >= len(views[0]):
                    sent -= len(views.pop(0))
                else:
                    views[0] = views[0][sent:]
                    sent = 0
