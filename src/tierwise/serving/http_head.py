"""Requests and responses, and the head of each: what comes before the body.

llhttp (through ``httptools``) parses request lines and headers, as strictly as it can.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

import httptools

from tierwise.serving.encoding import body_bytes
from tierwise.serving.faults import BadRequest, Refusal
from tierwise.serving.strict_json import Buffer

_CLOSE = "Connection: close\r\n"
HEADER_LENGTH = "inference-header-content-length"
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}


@dataclass
class HttpRequest:
    """One request.

    Attributes:
        method: Upper case.
        path: Decoded, without the query.
        headers: Names in lower case.
        body: All of it, or empty where a sink took it.
        present: In :meth:`Application.expect`: how many bytes of ``body`` are there to look at.
        received_at: ``time.perf_counter()`` when the last byte had arrived.
        wire_bytes: Size of headers and body.
        secure: Whether it came over TLS.
        cancelled: Whether the client has left.
        on_cancel: Called (in the event loop) when it leaves.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: memoryview = field(default_factory=lambda: memoryview(b""))
    present: int = 0
    received_at: float = 0.0
    wire_bytes: int = 0
    cancelled: bool = False
    on_cancel: Callable[[], None] | None = None

    def cancel(self) -> None:
        """The client has left."""
        self.cancelled = True
        if self.on_cancel is not None:
            self.on_cancel()


class HttpResponse(NamedTuple):
    """One answer: its body is written buffer by buffer."""

    status: int = 200
    body: Sequence[Buffer] = ()
    content_type: str = "application/json"
    headers: Mapping[str, str] = MappingProxyType({})


class HeadParser:
    """What llhttp finds in one request. Public: a chunked body goes on through it."""

    def __init__(self) -> None:
        """Start at a request's first byte."""
        self.url = b""
        self.headers: dict[str, str] = {}
        self.heads = 0
        self.keep_alive = False
        self.chunks: Callable[[bytes], None] | None = None
        self.complete = False
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        """A piece of the path."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those that must be unique are."""
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip()
        if key in self.headers:
            if key in {"content-length", "transfer-encoding", "host", "authorization"}:
                raise BadRequest(f"The header {key} was sent twice.")
            text = f"{self.headers[key]}, {text}"
        self.headers[key] = text

    def on_headers_complete(self) -> None:
        """The end of a head."""
        self.heads += 1
        # Asked here: at the end of a message without a body llhttp has forgotten it.
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """A piece of a chunked body."""
        if self.chunks is None:
            raise BadRequest("A body was found inside the headers.")
        self.chunks(data)

    def on_message_complete(self) -> None:
        """The end of a chunked body."""
        self.complete = True


class Head(NamedTuple):
    """A parsed request head.

    Attributes:
        request: Without its body.
        length: Of the body; ``None``: it comes in chunks.
        keep_alive: Whether the client wants to send more requests.
        parser: Goes on with a chunked body; ``None`` for any other.
    """

    request: HttpRequest
    length: int | None
    keep_alive: bool
    parser: HeadParser | None

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for 100 before it sends the body."""
        return self.request.headers.get("expect", "").lower() == "100-continue"


def parse_head(data: Buffer) -> Head:
    """Parse one request's head, up to and with its empty line.

    Raises:
        BadRequest: it isn't exactly one head, or can be read in two ways.
    """
    found = HeadParser()
    try:
        found.parser.feed_data(data)
    except httptools.HttpParserError as error:
        raise refusal_of(error) from error
    if found.heads != 1:
        raise BadRequest("One request's headers were expected.")
    request = HttpRequest(
        method=found.parser.get_method().decode("ascii"),
        path=_path(found.url),
        headers=found.headers,
        wire_bytes=len(data),
    )
    if "transfer-encoding" in found.headers:
        return Head(request, None, found.keep_alive, found)
    # The parser and its callbacks hold each other: without this, only the collector frees them.
    del found.parser
    return Head(request, _length(found.headers), found.keep_alive, None)


def refusal_of(error: httptools.HttpParserError) -> Refusal:
    """Why llhttp stopped: our own callback's reason, which comes wrapped, or llhttp's."""
    own = error.__context__
    return own if isinstance(own, Refusal) else BadRequest(f"This is not HTTP/1.1: {error}.")


def response_head(response: HttpResponse, *, close: bool) -> bytes:
    """Status line and headers of ``response``, up to and with the empty line."""
    headers = tuple(response.headers.items())
    size = body_bytes(response.body)
    return _response_head(response.status, response.content_type, headers, size, close=close)


@lru_cache(64)
def _response_head(
    status: int, content_type: str, headers: tuple[tuple[str, str], ...], size: int, *, close: bool
) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n"
        f"Content-Type: {content_type}\r\n{_CLOSE if close else ''}"
        f"Content-Length: {size}\r\n{lines}\r\n"
    ).encode("latin-1", "replace")


class HeadersTooLarge(Refusal):
    """431: more header bytes than the agent accepts."""

    status = 431


class TooSlow(Refusal):
    """408: the request took too long to arrive."""

    status = 408


def _path(url: bytes) -> str:
    try:
        path = httptools.parse_url(url).path or b"/"
    except httptools.HttpParserInvalidURLError as error:
        raise BadRequest("The request's path cannot be parsed.") from error
    text: str = unquote(path.decode("latin-1"))
    return text


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"Content-Length is {text!r:.50}; write a number of bytes.")
    return int(text)


def json_length(headers: Mapping[str, str]) -> int | None:
    """Length of a body's JSON part; ``None``: the whole body."""
    text = headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadRequest(f"Inference-Header-Content-Length is {text!r:.50}; write a number.")
    return int(text)
