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
    """What a server serves. Both methods run in the event loop and must not block it."""

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

    def answer_now(self, request: HttpRequest, client: socket.socket) -> HttpResponse:
        """Answer an inference request in this thread, which isn't the event loop's."""

    def refused(self, refusal: Refusal) -> HttpResponse:
        """The answer to a request that wasn't handled."""
