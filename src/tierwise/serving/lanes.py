"""Threads that stay with one busy connection each, so that its requests change no thread.

Handing a request from the event loop to a worker and its answer back costs two wake-ups, more
than everything else that the agent does for a small request (docs/design.md, "HTTP"). So a
connection that has sent an inference request gets a lane, if one is free: a thread that reads the
next request, runs it and writes the answer. Only the plain case is served there: a well-formed,
complete inference request with Content-Length. Whatever is not plain goes back to the event loop
as it came, with what has been read of it, so rules and refusals exist once.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tierwise.serving.encoding import body_bytes
from tierwise.serving.faults import Refusal
from tierwise.serving.http_head import Head, HttpRequest, HttpResponse, parse_head, response_head
from tierwise.serving.limits import Limits
from tierwise.serving.plain_sockets import limit_waits, send_all
from tierwise.serving.strict_json import Buffer

# heuristic: more connections than this are not busy at the same time on a machine with few cores.
_LANES = 8
# heuristic: a study's blocks come back to an agent within seconds.
_IDLE_S = 30.0
# How soon a lane sees that the agent is stopping.
_LOOK_UP_S = 0.25
# A request that comes more slowly is read by the event loop, which has time for slow ones.
_STALL_S = 1.0
# heuristic: 1 Mbit/s, the slowest link of a study.
_FAST_BYTES_PER_S = 125_000
# A lane's bodies aren't counted with the others, so they may not be of any size.
_MOST_BODY_BYTES = 64 * 2**20
_HEAD_BYTES = 8192

Expect = Callable[[HttpRequest, socket.socket], Callable[[], HttpResponse]]


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

    def __init__(self, expect: Expect, limits: Limits) -> None:
        """Let lanes ask ``expect`` for what answers a request, while its body is on its way."""
        self.expect = expect
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

    @property
    def used(self) -> int:
        """Lanes that are taken."""
        return self._used

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
        self._head = bytearray(_HEAD_BYTES)
        self._have = 0
        self._left = False
        self._last: Head | None = None
        self._last_text = b""

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="lane", daemon=True).start()

    def _run(self) -> None:
        leftover = Leftover(closed=True)
        try:
            self._sock.settimeout(None)
            limit_waits(self._sock, _LOOK_UP_S)
            leftover = self._serve()
            limit_waits(self._sock, 0)
            # The event loop has the same open socket under a descriptor of its own.
            self._sock.settimeout(0)
        except OSError:
            # A reset by the client; the transport finds out by itself, or is closed for us.
            leftover = Leftover(closed=True)
        finally:
            self._sock.close()
            self._lanes.leave()
            self._give_back(leftover)

    def _serve(self) -> Leftover:
        while True:
            end = self._read_head()
            if end is None:
                return self._unserved()
            head = self._plain(end)
            if head is None:
                return self._unserved()
            self._make_room(head, end)
            try:
                answer = self._lanes.expect(head.request, self._sock)
            except Refusal:
                return self._unserved()
            missing = self._read_body(head.request, end)
            if missing is not None:
                return missing
            self._write(answer())

    def _unserved(self) -> Leftover:
        return Leftover(bytes(memoryview(self._head)[: self._have]), closed=self._left)

    def _read_head(self) -> int | None:
        """Where the head ends; ``None``: it doesn't come, or the client has left."""
        since = time.perf_counter()
        while (end := self._head.find(b"\r\n\r\n", 0, self._have)) < 0:
            if self._have == len(self._head):
                return None
            try:
                count = self._sock.recv_into(memoryview(self._head)[self._have :])
            except BlockingIOError:
                waited_s = time.perf_counter() - since
                if self._lanes.closing or waited_s > (_STALL_S if self._have else _IDLE_S):
                    return None
                continue
            if count == 0:
                self._left = True
                return None
            if self._have == 0:
                since = time.perf_counter()
            self._have += count
        return end + 4

    def _plain(self, end: int) -> Head | None:
        """The parsed head, if the request is one that is served here."""
        text = bytes(memoryview(self._head)[:end])
        # A client sends the same head again and again; the request is a new one each time.
        head = self._last if text == self._last_text else self._parse(text)
        if head is None or self._lanes.closing:
            return None
        self._last, self._last_text = head, text
        last = head.request
        request = HttpRequest(last.method, last.path, last.headers, wire_bytes=end)
        return Head(request, head.length, head.keep_alive, None)

    def _parse(self, text: bytes) -> Head | None:
        try:
            head = parse_head(text)
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
        return head if plain else None

    def _make_room(self, head: Head, end: int) -> None:
        """Give the request its body, with what came along with its head."""
        length = head.length
        assert length is not None
        request = head.request
        # Not zeroed: the kernel writes every byte before anyone reads it.
        request.body = np.empty(length, np.uint8).data
        request.present = min(self._have - end, length)
        request.body[: request.present] = memoryview(self._head)[end : end + request.present]

    def _read_body(self, request: HttpRequest, end: int) -> Leftover | None:
        """Fill the request's body; what is to be given back where it doesn't come."""
        body, have = request.body, request.present
        length = len(body)
        further = bytes(memoryview(self._head)[end + have : self._have])
        late = time.perf_counter() + _STALL_S + length / _FAST_BYTES_PER_S
        while have < length:
            try:
                count = self._sock.recv_into(body[have:], 0, socket.MSG_WAITALL)
            except BlockingIOError:
                count = -1
            if count == 0:
                return Leftover(closed=True)
            have += max(count, 0)
            if have < length and time.perf_counter() > late:
                return Leftover(b"".join([self._last_text, body[:have]]))
        request.received_at = time.perf_counter()
        request.wire_bytes += length
        self._head[: len(further)] = further
        self._have = len(further)
        return None

    def _write(self, response: HttpResponse) -> None:
        """Write the whole answer; raises :class:`OSError` where the client doesn't read it."""
        limits = self._lanes.limits
        size = body_bytes(response.body)
        end = time.perf_counter() + limits.write_timeout_s + size / limits.min_body_bytes_per_s

        def go_on() -> None:
            if time.perf_counter() > end:
                raise TimeoutError("the client does not read its answer")

        send_all(self._sock, [response_head(response, close=False), *response.body], go_on)
