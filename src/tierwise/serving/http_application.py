"""What an HTTP server serves: the seam between connections and the agent's answers."""

import socket
from collections.abc import Callable
from typing import Protocol

from tierwise.serving.faults import Refusal
from tierwise.serving.http_head import HttpRequest, HttpResponse


class Sink(Protocol):
    """Where a streamed request body goes, so that it never lies in memory."""

    def write(self, data: memoryview) -> None:
        """Take the next piece."""

    def abort(self) -> None:
        """The body will not be complete: leave nothing behind."""


Respond = Callable[[HttpResponse], None]


class Application(Protocol):
    """What a server serves. Only ``expect`` may block."""

    def admit(self, request: HttpRequest, length: int | None) -> Sink | None:
        """Look at the headers before the body is read.

        Args:
            request: Without its body.
            length: Of the body, or ``None`` where it is chunked.

        Returns:
            Where the body goes, or ``None``: into memory.

        Raises:
            Refusal: it isn't worth reading.
        """

    def handle(self, request: HttpRequest, sink: Sink | None, respond: Respond) -> None:
        """Answer a complete request by calling ``respond``, once, from any thread."""

    def expect(self, request: HttpRequest, client: socket.socket) -> Callable[[], HttpResponse]:
        """Look at an inference request before its body is read, in a thread of its own.

        ``request.body`` has its full length, and its first ``request.present`` bytes as they have
        come, or as they are thought to come.

        Returns:
            What answers it, in the same thread, once ``request`` has its body; doesn't raise.

        Raises:
            Refusal: it isn't worth reading.
        """

    @property
    def under_way(self) -> int:
        """Inference requests that are being answered."""

    def refused(self, refusal: Refusal) -> HttpResponse:
        """The answer to a request that wasn't handled."""
