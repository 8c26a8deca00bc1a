"""Threads that stay with one busy connection each, so that its requests change no thread.

Handing a request from the event loop to a worker and its answer back costs two wake-ups, more
than everything else that the agent does for a small request (docs/design.md, "HTTP"). So a
connection that has sent an inference request gets a lane, if one is free: a thread that reads the
next request, runs it and writes the answer. Only the plain case is served there: a well-formed,
complete inference request with Content-Length. Whatever is not plain goes back to the event loop
as it came, with what has been read of it, so rules and refusals exist once.

A client that sent the same head twice will send it again: while nobody waits, the lane makes ready
what answers it. After a pause every line of Python costs ten times what it does in a loop
(``benchmarks/emulation.py pauses``), so lines that ran before the request came are the cheapest.
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
# What is made ready holds room for a body while it waits; a larger one takes longer to arrive than
# to be made room for. heuristic.
_READY_BYTES = 2**20
# Of the last body, this much is taken to come again: more than any JSON part that is remembered.
_SAME_BYTES = 2048
# A client that has sent nothing for this long after its answer is not in a hurry; before that it
# may need the core to read its answer. heuristic.
_BREATHER_S = 0.002

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


@dataclass(frozen=True)
class _Ready:
    """What answers the next request, should its head be the same ``text``."""

    text: bytes
    request: HttpRequest
    answer: Callable[[], HttpResponse]


class Lanes:
    """The lanes of one agent."""

    def __init__(self, expect: Expect, busy: Callable[[], bool], limits: Limits) -> None:
        """Serve with what ``expect`` says answers a request; ``busy``: whether one is under way."""
        self.expect = expect
        self.busy = busy
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
        self._start: bytes | None = None
        self._ready: _Ready | None = None
        self._limit_s = 0.0

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="lane", daemon=True).start()

    def _run(self) -> None:
        leftover = Leftover(closed=True)
        try:
            self._sock.settimeout(None)
            self._limit(_LOOK_UP_S)
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

    def _limit(self, seconds: float) -> None:
        """Let no call on the connection wait for longer."""
        if seconds != self._limit_s:
            limit_waits(self._sock, seconds)
            self._limit_s = seconds

    def _serve(self) -> Leftover:
        while True:
            end = self._read_head()
            if end is None:
                return self._unserved()
            text = bytes(memoryview(self._head)[:end])
            ready, self._ready = self._ready, None
            if ready is None or ready.text != text or self._lanes.closing:
                ready = self._look_at(text)
            if ready is None:
                return self._unserved()
            request, answer = ready.request, ready.answer
            missing = self._read_body(request, end)
            if missing is not None:
                return missing
            start = bytes(request.body[:_SAME_BYTES])
            self._write(answer())
            del answer, ready, request
            self._start = start
            self._limit(_BREATHER_S)

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
                self._make_ready()
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

    def _look_at(self, text: bytes) -> _Ready | None:
        """What answers a request with this head, if it is one that is served here."""
        again = text == self._last_text
        head = self._last if again else self._parse(text)
        if head is None or self._lanes.closing:
            return None
        self._last, self._last_text = head, text
        request = self._next_request(head, len(text))
        present = memoryview(self._head)[len(text) : self._have]
        return self._expect(text, request, present)

    def _next_request(self, head: Head, end: int) -> HttpRequest:
        """A client sends the same head again and again; the request is a new one each time."""
        last, length = head.request, head.length
        assert length is not None
        # Not zeroed: the kernel writes every byte before anyone reads it.
        body = np.empty(length, np.uint8).data
        return HttpRequest(last.method, last.path, last.headers, body, wire_bytes=end)

    def _expect(self, text: bytes, request: HttpRequest, start: Buffer) -> _Ready | None:
        """Ask for what answers ``request``, whose body has come, or is thought, to begin so."""
        present = min(len(start), len(request.body))
        request.body[:present] = start[:present]
        request.present = present
        try:
            answer = self._lanes.expect(request, self._sock)
        except Refusal:
            return None
        return _Ready(text, request, answer)

    def _make_ready(self) -> None:
        """Prepare, once, for another request with the last one's head, whose body begins as its."""
        self._limit(_LOOK_UP_S)
        if self._lanes.busy():
            return  # another request needs the core now; later, if there is a later
        head, start, self._start = self._last, self._start, None
        if head is None or start is None or not head.length or head.length > _READY_BYTES:
            return
        text = self._last_text
        self._ready = self._expect(text, self._next_request(head, len(text)), start)

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

    def _read_body(self, request: HttpRequest, end: int) -> Leftover | None:
        """Fill the request's body; what is to be given back where it doesn't come."""
        body, length = request.body, len(request.body)
        have = min(self._have - end, length)
        body[:have] = memoryview(self._head)[end : end + have]
        further = bytes(memoryview(self._head)[end + have : self._have])
        late = time.perf_counter() + _STALL_S + length / _FAST_BYTES_PER_S
        while have < length:
            try:
                count = self._sock.recv_into(body[have:], 0, socket.MSG_WAITALL)
            except BlockingIOError:
                self._limit(_LOOK_UP_S)
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
