"""Hostile and unusual clients against the HTTP server itself, over real loopback sockets."""

import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest

from tierwise.serving import lanes
from tierwise.serving.faults import NotFound, Refusal
from tierwise.serving.http_connections import Connections
from tierwise.serving.http_head import HttpRequest, HttpResponse
from tierwise.serving.http_server import Connection
from tierwise.serving.limits import Limits

LIMITS = Limits(max_body_bytes=10_000, max_connections=5, max_in_flight_bytes=15_000)


class Echo:
    """Answers with method, path and body; `/held` is answered when the test says so."""

    def __init__(self) -> None:
        self.held: list = []
        self.expected: list[bytes] = []

    def admit(self, request, _length):
        if request.path == "/nothing":
            raise NotFound("nothing here")

    def handle(self, request: HttpRequest, _sink, respond) -> None:
        if request.path == "/held":
            self.held.append((request, respond))
            return
        line = f"{request.method} {request.path} ".encode()
        respond(HttpResponse(200, [line, bytes(request.body)], "text/plain"))

    under_way = 0

    def expect(self, request: HttpRequest, _client):
        """Answers in a lane."""
        self.expected.append(bytes(request.body[: request.present]))
        return lambda: HttpResponse(200, [b"lane ", bytes(request.body)], "text/plain")

    def refused(self, refusal: Refusal) -> HttpResponse:
        return HttpResponse(refusal.status, [refusal.message.encode()], "text/plain")


class Server:
    def __init__(self, limits: Limits) -> None:
        self.app = Echo()
        self.all = Connections(self.app, limits)

    async def until(self, condition) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - the server is not told of its tests
                await asyncio.sleep(0.005)

    async def ask(self, *pieces: bytes) -> bytes:
        """Send the pieces, and read until the server closes or answers nothing for long."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        try:
            async with asyncio.timeout(5):
                return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def served(test, **limits):
    """Run `test(server)` against a server that sweeps often."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = Server(replace(LIMITS, **limits))
        listening = await loop.create_server(lambda: Connection(server.all), "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]

        async def sweep() -> None:
            while True:
                server.all.sweep()
                await asyncio.sleep(0.01)

        sweeper = loop.create_task(sweep())
        try:
            await test(server)
            await server.until(lambda: not server.all.open)
            assert server.all.in_flight_bytes == 0
        finally:
            sweeper.cancel()
            listening.close()

    asyncio.run(run())


def get(path: str, *, close: bool = True) -> bytes:
    end = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{end}\r\n".encode()


def post(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"POST /p HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n".encode() + body


def test_pipelined_requests_are_answered_in_order():
    async def test(server):
        answer = await server.ask(get("/a", close=False) + get("/b", close=False) + get("/c"))
        assert answer.index(b"GET /a") < answer.index(b"GET /b") < answer.index(b"GET /c")

    served(test)


def test_a_body_may_come_byte_by_byte():
    async def test(server):
        pieces = [bytes([byte]) for byte in post(b"hello", "Content-Length: 5")]
        assert (await server.ask(*pieces)).endswith(b"POST /p hello")

    served(test)


def test_a_chunked_body_is_put_together():
    async def test(server):
        body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        answer = await server.ask(post(body, "Transfer-Encoding: chunked"))
        assert answer.endswith(b"POST /p hello world")

    served(test)


def test_the_client_is_told_to_continue_when_it_asks():
    async def test(server):
        answer = await server.ask(post(b"", "Content-Length: 2", "Expect: 100-continue"), b"ok")
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")

    served(test)


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"\x16\x03\x01\x02\x00 TLS\r\n\r\n", 400, b"not HTTP/1.1"),
        (post(b"", "Content-Length: 1", "Content-Length: 1"), 400, b""),
        (post(b"", "Content-Length: -1"), 400, b""),
        (post(b"", "Content-Length: 1", "Transfer-Encoding: chunked"), 400, b""),
        (b"GET /a HTTP/1.1\nHost: x\n\nGET /b HTTP/1.1\r\n\r\n", 400, b""),
        (post(b"", "Content-Length: 10001"), 413, b"at most 10000 are accepted"),
        (post(b"fffffff\r\n" + b"x" * 20_000, "Transfer-Encoding: chunked"), 413, b"longer than"),
        (get("/" + "a" * 40_000), 431, b"more than 32768 bytes"),
        (get("/nothing"), 404, b"nothing here"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_and_the_connection_closed(sent, status, reason):
    async def test(server):
        answer = await server.ask(sent)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:100]
        assert answer.count(b"HTTP/1.1 ") == 1
        assert reason in answer

    served(test)


def test_the_refusal_of_a_large_body_reaches_a_client_that_is_still_sending():
    async def test(server):
        answer = await server.ask(post(b"", "Content-Length: 3000000"), b"x" * 3_000_000)
        assert answer.startswith(b"HTTP/1.1 413 ")

    served(test)


@pytest.mark.parametrize("sent", [b"GET / HT", post(b"he", "Content-Length: 5")])
def test_a_request_that_comes_too_slowly_is_cut_off(sent):
    async def test(server):
        assert (await server.ask(sent)).startswith(b"HTTP/1.1 408 ")

    served(test, header_timeout_s=0.05, body_timeout_s=0.05, min_body_bytes_per_s=1e9)


async def trickle(reader, writer, piece: bytes) -> bytes:
    """Send `piece` again and again, without a pause that could be told from work, until cut off."""
    async with asyncio.timeout(5):
        while True:
            writer.write(piece)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.005):
                    return await reader.read(4096)


@pytest.mark.parametrize(
    ("begun", "piece"),
    [(b"GET / HTTP/1.1\r\n", b"a: b\r\n"), (post(b"", "Content-Length: 9000"), b"x")],
    ids=["headers", "body"],
)
def test_a_client_that_trickles_gets_no_more_time_for_it(begun, piece):
    async def test(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(begun)
        assert (await trickle(reader, writer, piece)).startswith(b"HTTP/1.1 408 ")
        writer.close()

    served(test, header_timeout_s=0.1, body_timeout_s=0.1, min_body_bytes_per_s=1e9)


def test_a_client_that_trickles_into_a_lane_loses_it(monkeypatch):
    monkeypatch.setattr(lanes, "_STALL_S", 0.1)
    monkeypatch.setattr(lanes, "_LOOK_UP_S", 0.02)
    head = b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"

    async def test(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for answer in (b"POST /infer ab", b"lane ab"):  # the first by the event loop
            writer.write(head % 2 + b"ab")
            assert (await reader.readuntil(b"ab")).endswith(answer)
        writer.write(head % 9000)
        assert (await trickle(reader, writer, b"x")).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await server.until(lambda: server.all.lanes.used == 0)

    served(test, body_timeout_s=0.1, min_body_bytes_per_s=1e9)


def test_a_lane_makes_ready_what_answers_another_request_like_the_last(monkeypatch):
    monkeypatch.setattr(lanes, "_BREATHER_S", 0.001)
    head = b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"

    async def test(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

        async def ask(body: bytes) -> None:
            writer.write(head % len(body) + body)
            await reader.readuntil(body)

        await ask(b"ab")  # by the event loop
        await ask(b"cd")
        await server.until(lambda: server.app.expected == [b"cd", b"cd"])
        await ask(b"ef")  # answered by what was made ready, with its own body
        await server.until(lambda: server.app.expected == [b"cd", b"cd", b"ef"])
        await ask(b"ghi")  # another head: looked at anew
        await server.until(lambda: server.app.expected[3:] == [b"ghi", b"ghi"])
        writer.close()

    served(test)


def test_a_client_that_does_not_read_its_answer_is_cut_off():
    async def test(server):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(
                client, post(bytes(20_000_000), "Content-Length: 20000000")
            )
            await server.until(lambda: not server.all.open)

    large = 30_000_000
    served(
        test, write_timeout_s=0.1, min_body_bytes_per_s=1e12,
        max_body_bytes=large, max_in_flight_bytes=large,
    )  # fmt: skip


def test_an_idle_connection_is_closed():
    async def test(server):
        assert (await server.ask(get("/a", close=False))).endswith(b"GET /a ")

    served(test, idle_timeout_s=0.05)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", post(b"he", "Content-Length: 5"), get("/held")])
def test_a_half_closed_client_leaves_nothing_behind(sent):
    async def test(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()

    served(test)


def test_a_client_that_pipelines_without_end_waits_for_its_answer():
    async def test(server):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get("/held", close=False))
        await server.until(lambda: server.app.held)
        (connection,) = server.all.open
        writer.write(get("/b", close=False) * 200_000)  # 8 MB, more than sockets hold
        await server.until(lambda: connection._paused)
        assert connection._reader.waiting < 4 * LIMITS.max_header_bytes
        writer.transport.abort()
        server.app.held[0][1](HttpResponse(200, [b"late"]))

    served(test)


def test_a_client_that_leaves_cancels_its_request():
    async def test(server):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get("/held"))
        await server.until(lambda: server.app.held)
        writer.close()
        request, respond = server.app.held[0]
        await server.until(lambda: request.cancelled)
        respond(HttpResponse(200, [b"late"]))

    served(test)


def test_more_connections_than_the_limit_are_answered_503():
    async def test(server):
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        for _, writer in held:
            writer.write(get("/held"))
        await server.until(lambda: len(server.app.held) == 5)
        assert (await server.ask()).startswith(b"HTTP/1.1 503 ")
        for _, respond in server.app.held:
            respond(HttpResponse(200, [b"done"]))
        for reader, writer in held:
            assert (await reader.read()).endswith(b"done")
            writer.close()

    served(test)


def test_bodies_together_stay_under_the_limit():
    async def test(server):
        _, first = await asyncio.open_connection("127.0.0.1", server.port)
        first.write(post(b"x", "Content-Length: 9000"))
        await server.until(lambda: server.all.in_flight_bytes == 9000)
        answer = await server.ask(post(b"x", "Content-Length: 9000"))
        assert answer.startswith(b"HTTP/1.1 503 ")
        first.close()

    served(test)
