"""Why a request is refused: an error that knows its HTTP status."""

from typing import ClassVar


class Refusal(Exception):
    """A request that is answered with an error. Never leaves the agent's process.

    Subclasses differ in the status; the message goes to the client as ``{"error": message}``.
    """

    status: ClassVar[int] = 400

    def __init__(self, message: str) -> None:
        """Keep the message for the client."""
        super().__init__(message)
        self.message = message


class BadRequest(Refusal):
    """400: what was sent cannot be understood, or doesn't fit the model."""


class Unauthorized(Refusal):
    """401: no token, or a wrong one."""

    status = 401


class NotFound(Refusal):
    """404: no such path, model or artefact."""

    status = 404


class MethodNotAllowed(Refusal):
    """405: the path exists, for other methods."""

    status = 405


class TooLarge(Refusal):
    """413: more bytes than the agent accepts."""

    status = 413


class Overloaded(Refusal):
    """503: the queue is full, or the agent is stopping; answered with ``Retry-After``."""

    status = 503


class Failed(Refusal):
    """500: a bug; the agent's log has its traceback."""

    status = 500


class NextHopFailed(Refusal):
    """502: the next tier of the chain didn't answer, or answered with an error."""

    status = 502


class DeadlinePassed(Refusal):
    """504: the request's own time limit ran out."""

    status = 504


class Cancelled(Refusal):
    """The client is gone; nobody reads the answer. 499, as nginx writes it into its log."""

    status = 499
