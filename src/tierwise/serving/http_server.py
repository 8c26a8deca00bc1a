"""HTTP/1.1 server connections on asyncio, made for large bodies.

llhttp (through ``httptools``) parses request lines and headers, as strictly as it can; bodies of
known length never pass through it: the kernel writes them straight into one buffer of the right
size, and tensors are views of that buffer. Why not aiohttp or uvicorn: docs/design.md, "HTTP".

A client that closes its side has left: what it waits for is cancelled (as nginx does).
"""

import asyncio
import time

import httptools

from tierwise.serving.encoding import body_bytes
from tierwise.serving.faults import Overloaded, Refusal
from tierwise.serving.http_connections import Connections
from tierwise.serving.http_head import (
    HttpRequest,
    HttpResponse,
    TooSlow,
    refusal_of,
    response_head,
)
from tierwise.serving.lanes import Leftover
from tierwise.serving.request_reader import RequestReader

# What is read of a client that was refused goes here.
_DISCARD_BYTES = 4096
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
        self._reader = RequestReader(connections, self._allow, self._tell)
        self._busy = False
        self._refused = False
        self._paused = False
        self._discarding = False
        self._in_lane = False
        self._wants_lane = False
        self._transport: asyncio.Transport | None = None
        self._allow(self._limits.header_timeout_s)

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
        if self._reader.request is not None:
            self._reader.request.cancel()
        self._reader.close()

    def eof_received(self) -> bool:
        """The client has left; closes the transport."""
        return False

    def get_buffer(self, sizehint: int) -> memoryview | bytearray:  # noqa: ARG002
        """Where the kernel shall write next."""
        if self._discarding:
            return bytearray(_DISCARD_BYTES)
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """The kernel wrote ``nbytes``."""
        if self._discarding:
            return
        try:
            if self._busy:
                # A client that pipelines waits until its first request is answered.
                if self._reader.hold(nbytes) and self._transport is not None:
                    self._paused = True
                    self._transport.pause_reading()
            elif self._reader.received(nbytes):
                self._dispatch()
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

    # -- handing over and answering --------------------------------------------------------------

    def _dispatch(self) -> None:
        request, sink = self._reader.take()
        self._busy = True
        self._wants_lane = request.method == "POST" and request.path.endswith("/infer")
        self.deadline = float("inf")  # the application has its own clock

        def respond(response: HttpResponse) -> None:
            # A loop that is closing has no connections left to answer.
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._answer, request, response)

        self._all.application.handle(request, sink, respond)

    def _answer(self, request: HttpRequest, response: HttpResponse) -> None:
        if self._reader.request is not request or self._transport is None:
            return  # the client left meanwhile
        self._busy = False
        self._write(response)
        self._reader.forget()
        if self._closes:
            self._transport.close()
        elif self._transport.get_write_buffer_size() == 0:
            self._next()

    def _write(self, response: HttpResponse) -> None:
        transport = self._transport
        assert transport is not None
        if transport.is_closing():
            return
        size = body_bytes(response.body)
        head = response_head(response, close=self._closes)
        request = self._reader.request
        without_body = request is not None and request.method == "HEAD"
        self._allow(self._limits.write_timeout_s + size / self._limits.min_body_bytes_per_s)
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
        self._allow(self._limits.idle_timeout_s)
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        if self._reader.waiting:
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
        self._allow(self._limits.idle_timeout_s)
        self._transport.resume_reading()
        if leftover.data:
            # A body that stalled comes back with its head, and is read here from then on.
            self.buffer_updated(self._reader.begin_with(bytes(leftover.data)))

    def _reread(self) -> None:
        if not self._busy and self._reader.waiting and self._reader.request is None:
            self.buffer_updated(self._reader.rewind())

    def _refuse(self, refusal: Refusal) -> None:
        """Answer and close: what else comes on this connection cannot be understood."""
        self._refused = True
        self._reader.drop()
        if self._transport is not None and not self._transport.is_closing():
            self._write(self._all.application.refused(refusal))
            self._linger()
        self._reader.forget()

    def _linger(self) -> None:
        """Close once the client had a chance to read the answer.

        Closing with unread bytes in the kernel sends a reset, which can destroy the answer.
        """
        assert self._transport is not None
        self._discarding = True
        self._allow(_LINGER_S)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS cannot close one half
            self._transport.close()

    def _allow(self, seconds: float) -> None:
        """The client has this long for what it does now."""
        self.deadline = time.perf_counter() + seconds

    def _tell(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    @property
    def _closes(self) -> bool:
        """Whether the connection ends with the answer that is written next."""
        return self._refused or self._all.draining or not self._reader.keep_alive

    def time_out(self) -> None:
        """Too slow: say so where a request is under way, and close."""
        if self._transport is None:
            return
        idle = self._reader.request is None and not self._reader.waiting
        unread = self._transport.get_write_buffer_size() > 0
        if self._discarding or unread or idle:
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
