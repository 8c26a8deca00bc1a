"""One request's clock, client and account, while it is worked on."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tierwise.runtime.session import Stop
from tierwise.serving.faults import BadRequest, Cancelled, DeadlinePassed, Refusal
from tierwise.serving.http_client import HttpConnection, has_left
from tierwise.serving.timing import Hop

# Three years: gRPC tells of centuries where the client has set no deadline.
_ENDLESS_S = 1e8


@dataclass
class Job:
    """What a request knows of itself while it is worked on.

    Attributes:
        tier: Name of this tier.
        received_at: ``time.perf_counter()`` of its last byte.
        received_bytes: Its size.
        deadline: ``time.perf_counter()`` after which nobody waits for the answer.
        cancelled: Whether the client has left.
        client: The client's connection where nobody else watches it: asked whether it has left.
        hop: This tier's account.
        following: The accounts of the tiers after this one, as JSON, without the list's brackets.
        request_id: The client's own id, once it is read.
        stop: Ends its inference.
    """

    tier: str
    received_at: float
    received_bytes: int
    cancelled: bool = False
    deadline: float | None = None
    client: socket.socket | None = None
    hop: Hop = field(init=False)
    following: bytes = b""
    request_id: str = ""
    stop: Stop = field(default_factory=Stop)
    _connection: HttpConnection | None = None

    def __post_init__(self) -> None:
        self.hop = Hop(self.tier, received_bytes=self.received_bytes)

    def arrived(self, received_at: float, received_bytes: int) -> None:
        """The request is complete."""
        self.received_at = received_at
        self.hop.received_bytes = self.received_bytes = received_bytes

    def accounts(self) -> bytes:
        """What this tier and those after it say of their time, as JSON without brackets."""
        own = self.hop.to_text()
        return b"%b,%b" % (own, self.following) if self.following else own

    def cancel(self) -> None:
        """The client has left: stop waiting for the next hop, which cancels there too."""
        self.cancelled = True
        self.stop.set()
        connection = self._connection
        if connection is not None:
            connection.abort()

    def attach(self, connection: HttpConnection | None) -> None:
        """The connection on which the next hop's answer is awaited, or ``None`` after it."""
        self._connection = connection
        if connection is not None:
            connection.watched = self.client
        if self.cancelled and connection is not None:
            connection.abort()

    def set_timeout(self, parameters: Mapping[str, object]) -> None:
        """Take Triton's request parameter ``timeout`` (microseconds; 0: none)."""
        timeout_us = parameters.get("timeout", 0)
        if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or timeout_us < 0:
            raise BadRequest(f"'timeout' is {timeout_us!r:.50}; write microseconds, at least 0.")
        if timeout_us:
            end = self.received_at + timeout_us * 1e-6
            self.deadline = end if self.deadline is None else min(end, self.deadline)

    def limit(self, seconds: float | None) -> None:
        """Take what the transport itself says of the time left; ``None`` or endless: nothing."""
        if seconds is not None and seconds < _ENDLESS_S:
            self.deadline = time.perf_counter() + seconds

    def check(self) -> None:
        """Raise where nobody waits for the answer any more."""
        if self.cancelled or (self.client is not None and has_left(self.client)):
            raise Cancelled("The client has left.")
        if self.deadline is not None and time.perf_counter() > self.deadline:
            raise DeadlinePassed("The request's timeout has passed.")

    def stop_if_vain(self) -> None:
        """Stop the inference where nobody waits for the answer any more."""
        try:
            self.check()
        except Refusal:
            self.stop.set()
