"""Blocking HTTP/1.1 connections, pooled and kept alive, made for large bodies.

Blocking, because the one who waits is a thread that has nothing else to do: the measuring client,
or the agent's worker that relays the next tier's answer. ``http.client`` reads through a buffered
file and joins; here the kernel writes the body into one buffer of the right size.
"""

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools
import numpy as np

from tierwise.errors import TierFault, UserError
from tierwise.serving.codec import Buffer, body_bytes

Dial = Callable[[str, int], socket.socket]
# What comes with the headers in one read is copied once.
_HEAD_BYTES = 4096
_MAX_HEAD_BYTES = 64 * 1024
# One system call gathers at most this many buffers (IOV_MAX is 1024 on Linux).
_GATHER = 512
# heuristic: connections kept for reuse; an agent has no more workers by default.
_KEPT = 64


class ConnectionLost(OSError):
    """The other side closed before a whole answer had come."""

    def __init__(self, *, nothing_came: bool) -> None:
        """``nothing_came``: not one byte of the answer."""
        super().__init__("the connection was closed before the answer was complete")
        self.nothing_came = nothing_came


@dataclass(frozen=True)
class RawReply:
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


@dataclass(frozen=True)
class Address:
    """A parsed ``http://HOST:PORT`` or ``https://HOST:PORT``."""

    host: str
    port: int
    secure: bool
    text: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Parse ``url``; raises :class:`UserError` on anything but a scheme, host and port."""
        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise UserError(
                f"{url!r} is not the address of an agent.",
                hint="Write http://HOST:PORT or https://HOST:PORT.",
            )
        secure = parts.scheme == "https"
        port = port or (443 if secure else 80)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(parts.hostname, port, secure, f"{parts.scheme}://{host}:{port}")


def dial_tcp(host: str, port: int) -> socket.socket:
    """A plain TCP connection from this process's network."""
    return socket.create_connection((host, port), timeout=10.0)


class _ReplyHead:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False
        self.keep_alive = False
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


class HttpConnection:
    """One connection; one request at a time."""

    def __init__(self, sock: socket.socket, host: str, token: str | None) -> None:
        """Speak HTTP over a connected ``sock``."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._head = bytearray(_HEAD_BYTES)
        self._common = f"Host: {host}\r\n"
        if token is not None:
            self._common += f"Authorization: Bearer {token}\r\n"
        self.reusable = False
        self.watched: socket.socket | None = None

    def request(
        self,
        method: str,
        path: str,
        body: Sequence[Buffer] = (),
        headers: Mapping[str, str] | None = None,
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
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        size = body_bytes(body)
        head = (
            f"{method} {path} HTTP/1.1\r\n{self._common}{lines}Content-Length: {size}\r\n\r\n"
        ).encode("latin-1")
        try:
            self._send([head, *body])
        except (BrokenPipeError, ConnectionResetError):
            # The other side refused in the middle of the body: its answer says why.
            with suppress(OSError):
                return self._receive(method, len(head) + size)
            raise
        if not isinstance(self._sock, ssl.SSLSocket):
            self._watch()
        return self._receive(method, len(head) + size)

    def _arm(self) -> None:
        if self._deadline is None:
            self._sock.settimeout(None)
            return
        left = self._deadline - time.perf_counter()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self._sock.settimeout(left)

    def _send(self, buffers: list[Buffer]) -> None:
        if isinstance(self._sock, ssl.SSLSocket):
            for buffer in buffers:
                self._arm()
                self._sock.sendall(buffer)
            return
        views = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
        while views:
            self._arm()
            sent = self._sock.sendmsg(views[:_GATHER])
            while sent:
                if sent >= len(views[0]):
                    sent -= len(views.pop(0))
                else:
                    views[0] = views[0][sent:]
                    sent = 0

    def _watch(self) -> None:
        """Wait for the answer's first byte; stop where the one who it is for leaves."""
        watched = self.watched
        if watched is None:
            return
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        poller.register(watched, select.POLLIN)
        while True:
            self._arm()
            timeout_s = self._sock.gettimeout()
            ready = [fd for fd, _ in poller.poll(None if timeout_s is None else timeout_s * 1000)]
            if self._sock.fileno() in ready:
                return
            if watched.fileno() in ready:
                if has_left(watched):
                    raise ConnectionAbortedError("the client has left")
                poller.unregister(watched)  # its next request; that one waits

    def _receive(self, method: str, sent_bytes: int) -> RawReply:
        end, have = self._receive_head()
        if self._head.startswith((b"HTTP/1.1 100", b"HTTP/1.0 100")):
            self._head[: have - end] = self._head[end:have]
            end, have = self._receive_head(have - end)
        head = _ReplyHead()
        try:
            head.parser.feed_data(memoryview(self._head)[:end])
        except httptools.HttpParserError as error:
            raise OSError(f"the answer is not HTTP/1.1 ({error})") from error
        rest = memoryview(self._head)[end:have]
        body: memoryview
        if method == "HEAD":
            body = memoryview(b"")
        elif "transfer-encoding" in head.headers or "content-length" not in head.headers:
            body = self._receive_parsed(head, rest)
        else:
            body = self._receive_sized(int(head.headers["content-length"]), rest)
        self.reusable = head.keep_alive
        return RawReply(
            head.parser.get_status_code(), head.headers, body, sent_bytes, end + len(body)
        )

    def _receive_head(self, have: int = 0) -> tuple[int, int]:
        """Where the headers end in the buffer, and how much is in it."""
        while (end := self._head.find(b"\r\n\r\n", 0, have)) < 0:
            if have >= _MAX_HEAD_BYTES:
                raise OSError("the answer's headers are too long")
            if have == len(self._head):
                self._head.extend(bytes(have))
            self._arm()
            count = self._sock.recv_into(memoryview(self._head)[have:])
            if count == 0:
                raise ConnectionLost(nothing_came=have == 0)
            have += count
        return end + 4, have

    def _receive_sized(self, length: int, rest: memoryview) -> memoryview:
        body = np.empty(length, np.uint8).data if length else memoryview(b"")
        have = min(len(rest), length)
        if have:
            body[:have] = rest[:have]
        while have < length:
            self._arm()
            count = self._sock.recv_into(body[have:])
            if count == 0:
                raise ConnectionLost(nothing_came=False)
            have += count
        return body

    def _receive_parsed(self, head: _ReplyHead, rest: memoryview) -> memoryview:
        """A body in chunks, or one that ends where the connection does."""
        if rest:
            head.parser.feed_data(rest)
        while not head.complete:
            self._arm()
            data = self._sock.recv(256 * 1024)
            if not data:
                if "transfer-encoding" in head.headers:
                    raise ConnectionLost(nothing_came=False)
                break
            head.parser.feed_data(data)
        return memoryview(head.body)

    @property
    def stale(self) -> bool:
        """Whether the other side closed it, or wrote something unasked."""
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return bool(poller.poll(0))

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


class ConnectionPool:
    """Connections to one address, kept alive; any number of threads may use it."""

    def __init__(
        self,
        url: str,
        *,
        dial: Dial | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect to ``url`` when asked; ``dial`` makes the TCP connections."""
        self.address = Address.parse(url)
        self._dial = dial or dial_tcp
        self._token = token
        self._tls = tls
        self._idle: list[HttpConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    def request(
        self,
        method: str,
        path: str,
        body: Sequence[Buffer] = (),
        headers: Mapping[str, str] | None = None,
        *,
        deadline: float | None = None,
        on_connection: Callable[[HttpConnection], None] | None = None,
    ) -> RawReply:
        """One request; as :meth:`HttpConnection.request`.

        A kept connection that turns out to be closed before one byte of the answer came is
        replaced once. ``on_connection`` gets the connection before it is used, to abort it.
        """
        while True:
            connection, fresh = self._take()
            if on_connection is not None:
                on_connection(connection)
            try:
                reply = connection.request(method, path, body, headers, deadline)
            except BaseException as error:
                connection.close()
                closed = isinstance(error, (BrokenPipeError, ConnectionResetError)) or (
                    isinstance(error, ConnectionLost) and error.nothing_came
                )
                if closed and not fresh:
                    continue
                raise
            self._give_back(connection)
            return reply

    def _take(self) -> tuple[HttpConnection, bool]:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect(), True
            if not connection.stale:
                return connection, False
            connection.close()

    def _connect(self) -> HttpConnection:
        address = self.address
        sock = self._dial(address.host, address.port)
        if address.secure:
            context = self._tls or ssl.create_default_context()
            try:
                sock = context.wrap_socket(sock, server_hostname=address.host)
            except BaseException:
                sock.close()
                raise
        return HttpConnection(sock, address.text.split("//")[1], self._token)

    def _give_back(self, connection: HttpConnection) -> None:
        with self._lock:
            if connection.reusable and not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the kept connections; those in use are closed when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def fault_of(error: OSError, url: str, what: str) -> TierFault:
    """A connection's failure as an error that says what to do."""
    if isinstance(error, TimeoutError):
        message, hint = (
            f"{url} did not answer in time ({what}).",
            ("Is the tier overloaded or the link cut? Look at its standard error."),
        )
    elif isinstance(error, ssl.SSLError):
        message, hint = (
            f"TLS with {url} failed ({what}): {error.reason or error}.",
            ("Check the certificate, and the authority file on this side."),
        )
    elif isinstance(error, ConnectionRefusedError):
        message, hint = (
            f"Nothing listens at {url} ({what}).",
            ("Start the agent there: `tierwise serve --tier NAME --listen HOST:PORT`."),
        )
    elif isinstance(error, (ConnectionLost, ConnectionError)):
        message, hint = (
            f"The agent at {url} closed the connection ({what}).",
            ("Did it run out of memory or stop? Look at its standard error."),
        )
    else:
        message, hint = f"{url} cannot be reached ({what}): {error}.", "Check host, port and route."
    return TierFault(message, hint=hint, url=url)
