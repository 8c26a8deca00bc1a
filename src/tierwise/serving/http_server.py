"""HTTP/1.1 server connections on asyncio, made for large bodies.

llhttp (through ``httptools``) parses request lines and headers, as strictly as it can; bodies of
known length never pass through it: the kernel writes them straight into one buffer of the right
size, and tensors are views of that buffer. Why not aiohttp or uvicorn: docs/design.md, "HTTP".

A client that closes its side has left: what it waits for is cancelled (as nginx does).
"""

import asyncio
import time

import httptools
import numpy as np

from tierwise.serving.codec import body_bytes
from tierwise.serving.faults import BadRequest, Overloaded, Refusal, TooLarge
from tierwise.serving.http_application import Sink
from tierwise.serving.http_connections import Connections
from tierwise.serving.http_head import (
    HeadersTooLarge,
    HeadParser,
    HttpRequest,
    HttpResponse,
    TooSlow,
    parse_head,
    refusal_of,
    response_head,
)
from tierwise.serving.lanes import Leftover

# What comes with the headers in one read is copied once, so the buffer starts small.
_HEAD_BYTES = 4096
# heuristic: one page-cache-friendly piece of an uploaded model.
_SINK_BYTES = 256 * 1024
# Below this, one buffer and one system call are cheaper than several writes.
_JOIN_BYTES = 64 * 1024
# heuristic: long enough for a client a continent away to read a refusal.
_LINGER_S = 2.0


class Connection(asyncio.BufferedProtocol):
    """One client connection: reads a request, hands it over, writes the answer, again."""

    def __init__(self, connections: Connections) -> None:
        """Belong to ``connections``."""
        self._all = connections
        self._limits = connections.limits
        self._loop = asyncio.get_running_loop()
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
        self._request: HttpRequest | None = None
        self._busy = False
        self._close_after = False
        self._paused = False
        self._discarding = False
        self._in_lane = False
        self._wants_lane = False
        self._transport: asyncio.Transport | None = None
        self.deadline = time.perf_counter() + self._limits.header_timeout_s

    # -- asyncio's side --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, or turn it away."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # Told as soon as an answer isn't on its way completely, and again when it is.
        transport.set_write_buffer_limits(high=0)
        self._all.open.add(self)
        if len(self._all.open) > self._limits.max_connections:
            self._refuse(
                Overloaded(f"{self._limits.max_connections} connections are open; come back later.")
            )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Give back everything that the connection holds."""
        self._all.open.discard(self)
        if self._request is not None:
            self._request.cancel()
        self._drop_body()
        if self._sink is not None:
            self._sink.abort()
            self._sink = None

    def eof_received(self) -> bool:
        """The client has left; closes the transport."""
        return False

    def get_buffer(self, sizehint: int) -> memoryview | bytearray:  # noqa: ARG002
        """Where the kernel shall write next."""
        if self._discarding:
            return bytearray(_HEAD_BYTES)
        if self._sink is not None:
            if self._scratch is None:
                self._scratch = memoryview(bytearray(_SINK_BYTES))
            return self._scratch[: self._left]
        if self._body is not None:
            return self._body[self._body_bytes :]
        if self._head_bytes == len(self._head):
            self._head.extend(bytes(len(self._head)))
        return memoryview(self._head)[self._head_bytes :]

    def buffer_updated(self, nbytes: int) -> None:
        """The kernel wrote ``nbytes``."""
        if self._discarding:
            return
        try:
            if self._sink is not None:
                assert self._scratch is not None
                self._feed_sink(self._scratch[:nbytes])
            elif self._body is not None:
                self._body_bytes += nbytes
                if self._body_bytes == len(self._body):
                    self._dispatch()
            else:
                self._head_bytes += nbytes
                self._read_head(nbytes)
        except Refusal as refusal:
            self._refuse(refusal)
        except httptools.HttpParserError as error:
            self._refuse(refusal_of(error))
        except OSError as error:
            self._refuse(Overloaded(f"The agent cannot take the body: {error.strerror}."))

    def pause_writing(self) -> None:
        """The client reads slower than the agent writes."""

    def resume_writing(self) -> None:
        """Everything is on its way."""
        if not self._busy:
            self._next()

    # -- reading ---------------------------------------------------------------------------------

    def _read_head(self, new_bytes: int) -> None:
        if self._busy:
            if self._head_bytes >= self._limits.max_header_bytes and self._transport:
                # A client that pipelines waits until its first request is answered.
                self._paused = True
                self._transport.pause_reading()
            return
        if self._chunked is not None:
            self._feed_chunked(new_bytes)
            return
        if self._head_bytes == new_bytes:
            self.deadline = time.perf_counter() + self._limits.header_timeout_s
        seen = max(0, self._head_bytes - new_bytes - 3)
        end = self._head.find(b"\r\n\r\n", seen, self._head_bytes)
        if end < 0:
            if self._head_bytes >= self._limits.max_header_bytes:
                raise HeadersTooLarge(
                    f"The headers have more than {self._limits.max_header_bytes} bytes."
                )
            return
        self._start(end + 4)

    def _start(self, head_bytes: int) -> None:
        """The head is complete: decide where the body goes, and take what came with it."""
        if head_bytes > self._limits.max_header_bytes:
            raise HeadersTooLarge(
                f"The headers have more than {self._limits.max_header_bytes} bytes."
            )
        head = parse_head(memoryview(self._head)[:head_bytes])
        request, length = head.request, head.length
        self._request = request
        self._close_after = not head.keep_alive
        self._check_length(request, length)
        if head.expects_continue and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        rest = bytes(memoryview(self._head)[head_bytes : self._head_bytes])
        self._head_bytes = 0
        grace = (length or 0) / self._limits.min_body_bytes_per_s
        self.deadline = time.perf_counter() + self._limits.body_timeout_s + grace
        if head.parser is not None:
            self._start_chunked(head.parser, rest)
        else:
            self._start_body(length or 0, rest)

    def _check_length(self, request: HttpRequest, length: int | None) -> None:
        # Before `admit`, so that nothing has to be undone: a sink comes with its own limit.
        self._sink = self._all.application.admit(request, length)
        if self._sink is None and length is not None and length > self._limits.max_body_bytes:
            raise TooLarge(
                f"The body has {length} bytes; at most {self._limits.max_body_bytes} are accepted."
            )
        if self._sink is not None and length is None:
            self._sink.abort()
            self._sink = None
            raise BadRequest("Send a model with Content-Length, not in chunks.")

    def _start_body(self, length: int, rest: bytes) -> None:
        mine, further = rest[:length], rest[length:]
        self._head[: len(further)] = further
        self._head_bytes = len(further)
        if self._sink is not None:
            self._left = length
            self._feed_sink(memoryview(mine))
            return
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
        if self._body_bytes == length:
            self._dispatch()

    def _feed_sink(self, data: memoryview) -> None:
        assert self._sink is not None
        self._left -= len(data)
        self._sink.write(data)
        if self._request is not None:
            self._request.wire_bytes += len(data)
        if self._left == 0:
            self._dispatch()

    def _start_chunked(self, head: HeadParser, rest: bytes) -> None:
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
        if rest:
            self._feed_chunked(len(rest))

    def _feed_chunked(self, new_bytes: int) -> None:
        head = self._chunked
        assert head is not None
        data = bytes(memoryview(self._head)[self._head_bytes - new_bytes : self._head_bytes])
        self._head_bytes = 0
        head.parser.feed_data(data)
        if head.complete:
            # What may follow the last chunk cannot be told from it: no pipelining after chunks.
            self._close_after = True
            self._body = memoryview(self._pieces)
            self._body_bytes = len(self._pieces)
            self._chunked = None
            self._dispatch()

    # -- handing over and answering --------------------------------------------------------------

    def _dispatch(self) -> None:
        request = self._request
        assert request is not None
        request.received_at = time.perf_counter()
        if self._body is not None:
            request.body = self._body
        request.wire_bytes += self._body_bytes
        self._body, self._body_bytes = None, 0
        sink, self._sink, self._scratch = self._sink, None, None
        self._busy = True
        self._wants_lane = request.method == "POST" and request.path.endswith("/infer")
        self.deadline = float("inf")  # the application has its own clock

        def respond(response: HttpResponse) -> None:
            # A loop that is closing has no connections left to answer.
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._answer, request, response)

        self._all.application.handle(request, sink, respond)

    def _answer(self, request: HttpRequest, response: HttpResponse) -> None:
        if self._request is not request or self._transport is None:
            return  # the client left meanwhile
        self._busy = False
        self._write(response)
        self._request = None
        self._drop_body()
        if self._close_after or self._all.draining:
            self._transport.close()
        elif self._transport.get_write_buffer_size() == 0:
            self._next()

    def _write(self, response: HttpResponse) -> None:
        transport = self._transport
        assert transport is not None
        if transport.is_closing():
            return
        size = body_bytes(response.body)
        head = response_head(response, close=self._close_after or self._all.draining)
        without_body = self._request is not None and self._request.method == "HEAD"
        grace = size / self._limits.min_body_bytes_per_s
        self.deadline = time.perf_counter() + self._limits.write_timeout_s + grace
        if without_body:
            transport.write(head)
        elif size <= _JOIN_BYTES:
            transport.write(b"".join([head, *response.body]))
        else:
            transport.write(head)
            for buffer in response.body:
                transport.write(buffer)

    def _next(self) -> None:
        """Ready for the next request; it may have arrived already."""
        self.deadline = time.perf_counter() + self._limits.idle_timeout_s
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        if self._head_bytes:
            # In its own turn, so that a long pipeline cannot recurse.
            self._loop.call_soon(self._reread)
        elif self._wants_lane and not self._all.draining:
            self._enter_lane()

    def _enter_lane(self) -> None:
        """From now on a thread of its own serves this connection, if one is free."""
        transport = self._transport
        # TLS has no socket that a thread could read from on its own.
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return
        lane = self._all.lanes.open(
            transport.get_extra_info("socket").fileno(),
            lambda leftover: self._loop.call_soon_threadsafe(self._leave_lane, leftover),
        )
        if lane is not None:
            transport.pause_reading()
            self._in_lane = True
            self.deadline = float("inf")
            lane.start()

    def _leave_lane(self, leftover: Leftover) -> None:
        self._in_lane = self._wants_lane = False
        if self._transport is None or self._transport.is_closing():
            return
        if leftover.closed:
            self._transport.abort()
            return
        self.deadline = time.perf_counter() + self._limits.idle_timeout_s
        self._transport.resume_reading()
        if leftover.data:
            # A body that stalled comes back with its head, and is read here from then on.
            self._head = bytearray(leftover.data)
            self._head_bytes = 0
            self.buffer_updated(len(leftover.data))

    def _reread(self) -> None:
        if not self._busy and self._head_bytes and self._request is None:
            waiting, self._head_bytes = self._head_bytes, 0
            self.buffer_updated(waiting)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer and close: what else comes on this connection cannot be understood."""
        self._close_after = True
        if self._sink is not None:
            self._sink.abort()
            self._sink = None
        self._drop_body()
        if self._transport is None or self._transport.is_closing():
            return
        self._write(self._all.application.refused(refusal))
        self._request = None
        self._linger()

    def _linger(self) -> None:
        """Close once the client had a chance to read the answer.

        Closing with unread bytes in the kernel sends a reset, which can destroy the answer.
        """
        assert self._transport is not None
        self._discarding = True
        self.deadline = time.perf_counter() + _LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS cannot close one half
            self._transport.close()

    def _drop_body(self) -> None:
        self._all.in_flight_bytes -= self._reserved
        self._reserved = 0
        self._body, self._body_bytes, self._chunked = None, 0, None

    def time_out(self) -> None:
        """Too slow: say so where a request is under way, and close."""
        if self._transport is None:
            return
        unread = self._transport.get_write_buffer_size() > 0
        if self._discarding or unread or (self._request is None and self._head_bytes == 0):
            self._transport.abort()
        else:
            self._refuse(TooSlow("The request took too long to arrive."))

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or written."""
        writing = self._transport is not None and self._transport.get_write_buffer_size() > 0
        return self._busy or writing or self._in_lane

    def close_if_idle(self) -> None:
        """Close unless a request is under way (draining)."""
        if not self.busy and self._transport is not None:
            self._transport.close()
