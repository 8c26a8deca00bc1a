"""Connections to one address, pooled and kept alive."""

import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tierwise.errors import TierFault, UserError
from tierwise.serving.encoding import Headers
from tierwise.serving.http_client import ConnectionLost, HttpConnection, RawReply
from tierwise.serving.strict_json import Buffer
from tierwise.serving.tls import ClosedUnanswered, advise, client_tls
from tierwise.tiers import dialling
from tierwise.tiers.dialling import Dial

# heuristic: connections kept for reuse; an agent has no more workers by default.
_KEPT = 64
# heuristic: no server gives up an idle connection sooner.
_FRESH_S = 0.5
# By the other side, in the middle of a request or of the handshake.
_CLOSED = (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError)


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
        self._dial = dial or dialling.dial
        self._token = token
        self._tls = tls
        # Without a lock: a list's append and pop are atomic.
        self._idle: list[HttpConnection] = []
        self._closed = False

    def request(
        self,
        method: str,
        path: str,
        body: Sequence[Buffer] = (),
        headers: Headers = (),
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
                closed = isinstance(error, _CLOSED) or (
                    isinstance(error, ConnectionLost) and error.nothing_came
                )
                if closed and not fresh:
                    continue
                if closed and self.address.secure:
                    raise ClosedUnanswered from error
                raise
            self._give_back(connection)
            return reply

    def _take(self) -> tuple[HttpConnection, bool]:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect(), True
            # One that was just used is not asked: it costs a system call, and a closed one shows.
            if time.perf_counter() < connection.idle_since + _FRESH_S or not connection.stale:
                return connection, False
            connection.close()

    def _connect(self) -> HttpConnection:
        address = self.address
        sock = self._dial(address.host, address.port)
        if address.secure:
            # Once: reading the system's authorities takes longer than the handshake.
            self._tls = self._tls or client_tls()
            try:
                sock = self._tls.wrap_socket(sock, server_hostname=address.host)
            except BaseException as error:
                sock.close()
                if isinstance(error, _CLOSED):
                    raise ClosedUnanswered from error
                raise
        return HttpConnection(sock, address.text.split("//")[1], self._token)

    def _give_back(self, connection: HttpConnection) -> None:
        if not connection.reusable or len(self._idle) >= _KEPT:
            connection.close()
            return
        connection.idle_since = time.perf_counter()
        self._idle.append(connection)
        if self._closed:  # while it was in use
            self.close()

    def close(self) -> None:
        """Close the kept connections; those in use are closed when they come back."""
        self._closed = True
        while self._idle:
            with suppress(IndexError):  # another thread may take it
                self._idle.pop().close()


def fault_of(error: OSError, url: str, what: str) -> TierFault:
    """A connection's failure as an error that says what to do."""
    if isinstance(error, TimeoutError):
        message, hint = (
            f"{url} did not answer in time ({what}).",
            ("Is the tier overloaded or the link cut? Look at its standard error."),
        )
    elif isinstance(error, ssl.SSLError):
        why, hint = advise(error)
        message = f"TLS with {url} failed ({what}): {why}."
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
