"""Bytes of one connection to requests: heads through llhttp, bodies straight into their buffer."""

import time
from collections.abc import Callable

import numpy as np

from tierwise.serving.faults import BadRequest, Overloaded, TooLarge
from tierwise.serving.http_application import Sink
from tierwise.serving.http_connections import Connections
from tierwise.serving.http_head import HeadersTooLarge, HeadParser, HttpRequest, parse_head

# What comes with the headers in one read is copied once, so the buffer starts small.
_HEAD_BYTES = 4096
# heuristic: one page-cache-friendly piece of an uploaded model.
_SINK_BYTES = 256 * 1024


def _nothing(_: object) -> None:
    pass


class RequestReader:
    """Reads one request after the other; what it has of the next one waits.

    Whoever owns it gives it bytes by :meth:`buffer` and :meth:`received` until that says that a
    request is complete, takes the request, and calls :meth:`forget` when it is answered.
    """

    def __init__(
        self,
        connections: Connections,
        allow: Callable[[float], None],
        tell: Callable[[bytes], None],
    ) -> None:
        """Read for one of ``connections``.

        Args:
            connections: Whose application admits requests, and whose limits hold.
            allow: Called with how many seconds from now the client has for what it has begun.
            tell: Writes to the client before its request is complete (100 Continue).
        """
        self._all = connections
        self._limits = connections.limits
        self._allow = allow
        self._tell = tell
        self._head = bytearray(_HEAD_BYTES)
        self._head_bytes = 0
        self._body: memoryview | None = None
        self._body_bytes = 0
        self._pieces = bytearray()
        self._reserved = 0
        self._sink: Sink | None = None
        self._scratch: memoryview | None = None
        self._left = 0
        self._chunked: HeadParser | None = None
        self.request: HttpRequest | None = None
        self.keep_alive = True

    @property
    def waiting(self) -> int:
        """Bytes that are here of a request whose head isn't read yet."""
        return self._head_bytes

    def buffer(self) -> memoryview:
        """Where the kernel shall write next."""
        if self._sink is not None:
            if self._scratch is None:
                self._scratch = memoryview(bytearray(_SINK_BYTES))
            return self._scratch[: self._left]
        if self._body is not None:
            return self._body[self._body_bytes :]
        if self._head_bytes == len(self._head):
            self._head.extend(bytes(len(self._head)))
        return memoryview(self._head)[self._head_bytes :]

    def hold(self, count: int) -> bool:
        """Keep ``count`` bytes, written into the buffer, for later; whether it is full now."""
        self._head_bytes += count
        return self._head_bytes >= self._limits.max_header_bytes

    def received(self, count: int) -> bool:
        """``count`` bytes were written into the buffer; whether the request is complete.

        Raises:
            Refusal: it isn't worth reading, or is over a limit.
            httptools.HttpParserError: a chunked body isn't one.
            OSError: what takes the body cannot.
        """
        if self._sink is not None:
            assert self._scratch is not None
            return self._feed_sink(self._scratch[:count])
        if self._body is not None:
            self._body_bytes += count
            return self._body_bytes == len(self._body)
        self._head_bytes += count
        return self._read_head(count)

    def take(self) -> tuple[HttpRequest, Sink | None]:
        """The complete request, and where its body went unless into memory."""
        request, sink = self.request, self._sink
        assert request is not None
        request.received_at = time.perf_counter()
        if self._body is not None:
            request.body = self._body
        request.wire_bytes += self._body_bytes
        self._body, self._body_bytes = None, 0
        self._sink, self._scratch = None, None
        return request, sink

    def forget(self) -> None:
        """The request is answered, or nobody waits for an answer any more."""
        self.drop()
        self.request = None

    def close(self) -> None:
        """The connection is gone; lets go of it, or both would wait for the collector."""
        self.forget()
        self._allow = self._tell = _nothing

    def drop(self) -> None:
        """Give back what the request's body takes."""
        if self._sink is not None:
            self._sink.abort()
            self._sink = None
        self._all.in_flight_bytes -= self._reserved
        self._reserved = 0
        self._body, self._body_bytes, self._chunked = None, 0, None

    def begin_with(self, data: bytes) -> int:
        """Start a request with bytes that were read elsewhere; their count, to be received."""
        self._head = bytearray(data)
        self._head_bytes = 0
        return len(data)

    def rewind(self) -> int:
        """The count of the waiting bytes, to be received now."""
        count, self._head_bytes = self._head_bytes, 0
        return count

    def _read_head(self, new_bytes: int) -> bool:
        if self._chunked is not None:
            return self._feed_chunked(self._chunked, new_bytes)
        if self._head_bytes == new_bytes:
            self._allow(self._limits.header_timeout_s)
        seen = max(0, self._head_bytes - new_bytes - 3)
        end = self._head.find(b"\r\n\r\n", seen, self._head_bytes)
        if (self._head_bytes if end < 0 else end + 4) > self._limits.max_header_bytes:
            raise HeadersTooLarge(
                f"The headers have more than {self._limits.max_header_bytes} bytes."
            )
        return end >= 0 and self._start(end + 4)

    def _start(self, head_bytes: int) -> bool:
        """The head is complete: decide where the body goes, and take what came with it."""
        head = parse_head(memoryview(self._head)[:head_bytes])
        request, length = head.request, head.length
        self.request = request
        self.keep_alive = head.keep_alive
        self._admit(request, length)
        if head.expects_continue:
            self._tell(b"HTTP/1.1 100 Continue\r\n\r\n")
        rest = bytes(memoryview(self._head)[head_bytes : self._head_bytes])
        self._head_bytes = 0
        grace_s = (length or 0) / self._limits.min_body_bytes_per_s
        self._allow(self._limits.body_timeout_s + grace_s)
        if head.parser is not None:
            return self._start_chunked(head.parser, rest)
        return self._start_body(length or 0, rest)

    def _admit(self, request: HttpRequest, length: int | None) -> None:
        # Before memory is taken, so that nothing has to be undone: a sink comes with its own limit.
        self._sink = self._all.application.admit(request, length)
        if self._sink is None and length is not None and length > self._limits.max_body_bytes:
            raise TooLarge(
                f"The body has {length} bytes; at most {self._limits.max_body_bytes} are accepted."
            )
        if self._sink is not None and length is None:
            self._sink.abort()
            self._sink = None
            raise BadRequest("Send a model with Content-Length, not in chunks.")

    def _start_body(self, length: int, rest: bytes) -> bool:
        mine, further = rest[:length], rest[length:]
        self._head[: len(further)] = further
        self._head_bytes = len(further)
        if self._sink is not None:
            self._left = length
            return self._feed_sink(memoryview(mine))
        if length:
            self._all.reserve(length)
            self._reserved = length
            try:
                # Not zeroed: the kernel writes every byte before anyone reads it.
                self._body = np.empty(length, np.uint8).data
            except MemoryError as error:
                raise Overloaded(f"There is no memory for {length} bytes.") from error
            self._body[: len(mine)] = mine
        self._body_bytes = len(mine)
        return self._body_bytes == length

    def _feed_sink(self, data: memoryview) -> bool:
        assert self._sink is not None
        self._left -= len(data)
        self._sink.write(data)
        if self.request is not None:
            self.request.wire_bytes += len(data)
        return self._left == 0

    def _start_chunked(self, head: HeadParser, rest: bytes) -> bool:
        pieces = bytearray()

        def take(data: bytes) -> None:
            if len(pieces) + len(data) > self._limits.max_body_bytes:
                raise TooLarge(f"The body is longer than {self._limits.max_body_bytes} bytes.")
            self._all.reserve(len(data))
            self._reserved += len(data)
            pieces.extend(data)

        head.chunks = take
        self._chunked = head
        self._pieces = pieces
        self._head[: len(rest)] = rest
        self._head_bytes = len(rest)
        return bool(rest) and self._feed_chunked(head, len(rest))

    def _feed_chunked(self, head: HeadParser, new_bytes: int) -> bool:
        data = bytes(memoryview(self._head)[self._head_bytes - new_bytes : self._head_bytes])
        self._head_bytes = 0
        head.parser.feed_data(data)
        if head.complete:
            # What may follow the last chunk cannot be told from it: no pipelining after chunks.
            self.keep_alive = False
            self._body = memoryview(self._pieces)
            self._body_bytes = len(self._pieces)
            self._chunked = None
        return head.complete
