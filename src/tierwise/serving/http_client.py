"""Blocking HTTP/1.1 connections, pooled and kept alive, made for large bodies.

Blocking, because the one who waits is a thread that has nothing else to do: the measuring client,
or the agent's worker that relays the next tier's answer. ``http.client`` reads through a buffered
file and joins; here the kernel writes the body into one buffer of the right size.
"""

import select
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import httptools
import numpy as np

from tierwise.serving.encoding import Headers, body_bytes
from tierwise.serving.plain_sockets import limit_waits, send_all
from tierwise.serving.strict_json import Buffer

# What comes with the headers in one read is copied once: a small answer comes in one read.
_HEAD_BYTES = 16 * 1024
_PIECE_BYTES = 256 * 1024
# Of large heads nobody sends many alike.
_REMEMBERED = 64
_MAX_HEAD_BYTES = 64 * 1024
_CONTINUE = (b"HTTP/1.1 100", b"HTTP/1.0 100")


class ConnectionLost(OSError):
    """The other side closed before a whole answer had come."""

    def __init__(self, *, nothing_came: bool) -> None:
        """``nothing_came``: not one byte of the answer."""
        super().__init__("the connection was closed before the answer was complete")
        self.nothing_came = nothing_came


class RawReply(NamedTuple):
    """One answer.

    Attributes:
        status: HTTP status.
        headers: Names in lower case.
        body: All of it.
        sent_bytes: Request line, headers and body.
        received_bytes: Status line, headers and body.
    """

    status: int
    headers: Mapping[str, str]
    body: memoryview
    sent_bytes: int
    received_bytes: int


class _ReplyHead:
    def __init__(self, text: Buffer) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False
        self.keep_alive = False
        self.parser = httptools.HttpResponseParser(self)
        try:
            self.parser.feed_data(text)
        except httptools.HttpParserError as error:
            raise OSError(f"the answer is not HTTP/1.1 ({error})") from error

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


class _SizedHead(NamedTuple):
    """The head of an answer whose body's length it tells."""

    status: int
    headers: Mapping[str, str]
    length: int
    keep_alive: bool


@lru_cache(_REMEMBERED)
def _sized_head(text: bytes) -> _SizedHead | None:
    """``None``: the body's length is not told. A server's heads are few, so they are kept."""
    head = _ReplyHead(text)
    if "transfer-encoding" in head.headers or "content-length" not in head.headers:
        return None
    length = int(head.headers["content-length"])
    return _SizedHead(head.parser.get_status_code(), head.headers, length, head.keep_alive)


@lru_cache(_REMEMBERED)
def _request_head(
    method: str, path: str, common: str, headers: tuple[tuple[str, str], ...], size: int
) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return (f"{method} {path} HTTP/1.1\r\n{common}{lines}Content-Length: {size}\r\n\r\n").encode(
        "latin-1"
    )


class HttpConnection:
    """One connection; one request at a time."""

    def __init__(self, sock: socket.socket, host: str, token: str | None) -> None:
        """Speak HTTP over a connected ``sock``."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(None)
        self._sock = sock
        # TLS has no use for the kernel's timeouts: one record may take several reads.
        self._plain = not isinstance(sock, ssl.SSLSocket)
        self._deadline: float | None = None
        self._limit_s = 0.0
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._head = bytearray(_HEAD_BYTES)
        self._common = f"Host: {host}\r\n"
        if token is not None:
            self._common += f"Authorization: Bearer {token}\r\n"
        self.reusable = False
        self.watched: socket.socket | None = None
        self.idle_since = 0.0

    def request(
        self,
        method: str,
        path: str,
        body: Sequence[Buffer] = (),
        headers: Headers = (),
        deadline: float | None = None,
    ) -> RawReply:
        """Send one request and read its answer.

        Args:
            method: Upper case.
            path: Already quoted.
            body: Written buffer by buffer.
            headers: Further headers.
            deadline: ``time.perf_counter()`` after which it raises :class:`TimeoutError`.

        Raises:
            OSError: the connection failed; :class:`ConnectionLost` where the other side closed it.
        """
        self._deadline = deadline
        self._arm()
        size = body_bytes(body)
        head = _request_head(method, path, self._common, headers, size)
        try:
            self._send([head, *body])
        except (BrokenPipeError, ConnectionResetError):
            # The other side refused in the middle of the body: its answer says why.
            with suppress(OSError):
                return self._receive(method, len(head) + size)
            raise
        if self.watched is not None and self._plain:
            self._watch(self.watched)
        return self._receive(method, len(head) + size)

    def _left_s(self) -> float:
        """Until the deadline, 0 where there is none; raises where it has passed."""
        if self._deadline is None:
            return 0.0
        left_s = self._deadline - time.perf_counter()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        return left_s

    def _arm(self) -> None:
        """Let no call wait beyond the deadline. To be called before each that may wait."""
        left_s = self._left_s()
        # A limit that is at most 1% too long does: it spares two system calls a request.
        if left_s <= self._limit_s <= left_s * 1.01:
            return
        self._limit_s = left_s
        if self._plain:
            limit_waits(self._sock, left_s)
        else:
            self._sock.settimeout(left_s or None)

    def _send(self, buffers: list[Buffer]) -> None:
        if not self._plain:
            for buffer in buffers:
                self._arm()
                self._sock.sendall(buffer)
            return
        send_all(self._sock, buffers, self._arm)

    def _receive_into(self, buffer: memoryview, *, all_of_it: bool = False) -> int:
        """Read once; ``all_of_it``: wait until ``buffer`` is full, where the kernel can."""
        flags = socket.MSG_WAITALL if all_of_it and self._plain else 0
        try:
            return self._sock.recv_into(buffer, 0, flags)
        except BlockingIOError as error:
            raise TimeoutError("the deadline has passed") from error

    def _watch(self, watched: socket.socket) -> None:
        """Wait for the answer's first byte; stop where the one who it is for leaves."""
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        poller.register(watched, select.POLLIN)
        while True:
            left_s = self._left_s()
            ready = [fd for fd, _ in poller.poll(left_s * 1000 if left_s else None)]
            if self._sock.fileno() in ready:
                return
            if watched.fileno() in ready:
                if has_left(watched):
                    raise ConnectionAbortedError("the client has left")
                poller.unregister(watched)  # its next request; that one waits

    def _receive(self, method: str, sent_bytes: int) -> RawReply:
        end, have = self._receive_head()
        if self._head.startswith(_CONTINUE):
            self._head[: have - end] = self._head[end:have]
            end, have = self._receive_head(have - end)
        text = bytes(self._head[:end])
        known = _sized_head(text)
        if known is None:
            return self._receive_unsized(method, sent_bytes, text, have)
        self.reusable = known.keep_alive
        body = self._receive_sized(0 if method == "HEAD" else known.length, end, have)
        return RawReply(known.status, known.headers, body, sent_bytes, end + len(body))

    def _receive_unsized(self, method: str, sent_bytes: int, text: bytes, have: int) -> RawReply:
        head, end = _ReplyHead(text), len(text)
        rest = memoryview(self._head)[end:have]
        body = memoryview(b"") if method == "HEAD" else self._receive_parsed(head, rest)
        self.reusable = head.keep_alive
        status = head.parser.get_status_code()
        return RawReply(status, head.headers, body, sent_bytes, end + len(body))

    def _receive_head(self, have: int = 0) -> tuple[int, int]:
        """Where the headers end in the buffer, and how much is in it."""
        while (end := self._head.find(b"\r\n\r\n", 0, have)) < 0:
            if have:
                self._arm()
            if have >= _MAX_HEAD_BYTES:
                raise OSError("the answer's headers are too long")
            if have == len(self._head):
                self._head.extend(bytes(have))
            count = self._receive_into(memoryview(self._head)[have:])
            if count == 0:
                raise ConnectionLost(nothing_came=have == 0)
            have += count
        return end + 4, have

    def _receive_sized(self, length: int, end: int, have: int) -> memoryview:
        """The body, which begins at ``end`` in the buffer, where ``have`` bytes are."""
        if length == 0:
            return memoryview(b"")
        body = np.empty(length, np.uint8).data
        present = min(have - end, length)
        body[:present] = memoryview(self._head)[end : end + present]
        while present < length:
            self._arm()
            count = self._receive_into(body[present:], all_of_it=True)
            if count == 0:
                raise ConnectionLost(nothing_came=False)
            present += count
        return body

    def _receive_parsed(self, head: _ReplyHead, rest: memoryview) -> memoryview:
        """A body in chunks, or one that ends where the connection does."""
        if rest:
            head.parser.feed_data(rest)
        piece = memoryview(bytearray(_PIECE_BYTES))
        while not head.complete:
            self._arm()
            count = self._receive_into(piece)
            if count == 0:
                if "transfer-encoding" in head.headers:
                    raise ConnectionLost(nothing_came=False)
                break
            head.parser.feed_data(piece[:count])
        return memoryview(head.body)

    @property
    def stale(self) -> bool:
        """Whether the other side closed it, or wrote something unasked."""
        return bool(self._poll.poll(0))

    def abort(self) -> None:
        """Make whoever waits on this connection, in another thread, stop waiting."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


def has_left(client: socket.socket) -> bool:
    """Whether the other side of a plain connection has closed it."""
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
