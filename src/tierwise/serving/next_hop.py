"""The next hop of a chain: any Open Inference Protocol server, with or without binary tensors."""

import json
import ssl
import time
from collections.abc import Sequence
from typing import Any

import orjson

from tierwise.serving.connection_pool import ConnectionPool
from tierwise.serving.decoding import decode_outputs
from tierwise.serving.encoding import Headers, encode_json_request, encode_request
from tierwise.serving.faults import (
    BadRequest,
    DeadlinePassed,
    NextHopFailed,
    Overloaded,
    Refusal,
)
from tierwise.serving.http_client import RawReply
from tierwise.serving.http_head import json_length
from tierwise.serving.job import Job
from tierwise.serving.messages import InferRequest, InferResponse, WireTensor
from tierwise.serving.routes import infer_path
from tierwise.serving.stage import NextHop
from tierwise.serving.strict_json import Buffer, parse_json
from tierwise.serving.timing import TIMING, Hop
from tierwise.serving.tls import advise

# The protocol's name of the extension, as server metadata lists it.
BINARY_EXTENSION = "binary_tensor_data"


class NextServer:
    """Connections to the next hop, and what is known of the server there. Threads may share it."""

    def __init__(self, hop: NextHop, tls: ssl.SSLContext | None = None) -> None:
        """Connect when the first request comes; raises ``UserError`` on a bad URL."""
        self._hop = hop
        self._pool = ConnectionPool(hop.url, token=hop.token, tls=tls)
        self._path = infer_path(hop.model)
        # A Tierwise agent takes binary tensors; any other server is asked, once.
        self._binary = True if hop.tierwise and hop.binary is None else hop.binary

    def forward(self, request: InferRequest, wire: list[WireTensor], job: Job) -> InferResponse:
        """Send a segment's outputs on, and wait for the answer.

        Raises:
            Refusal: the next hop failed or refused, or the request's time ran out.
        """
        start = time.perf_counter()
        if self._binary is None:
            self._binary = self._ask_binary(job)
            start = job.hop.lap("next_s", start)
        parameters: dict[str, object] = {}
        if self._hop.tierwise and request.parameters.get(TIMING) is True:
            parameters[TIMING] = True
        if job.deadline is not None:
            parameters["timeout"] = max(1, round((job.deadline - start) * 1e6))
        encode = encode_request if self._binary else encode_json_request
        body, headers = encode(wire, parameters, request.request_id)
        start = job.hop.lap("encode_s", start)
        reply = self._request(job, "POST", self._path, body, headers)
        start = job.hop.lap("next_s", start)
        job.hop.sent_bytes = reply.sent_bytes
        if reply.status != 200:
            raise _refusal_of(reply, self.name)
        try:
            response, told = decode_outputs(reply.body, json_length(reply.headers))
            accounts = told.timing_alone()
            if accounts is None:
                others = dict(told.read())
                accounts = _accounts(others.pop(TIMING, None))
                response = response._replace(parameters=others)
        except Refusal as error:
            raise NextHopFailed(f"{self.name} sent no inference response: {error}") from error
        # Of the tiers from here on, passed on as they came: whoever asked for them reads them. A
        # server without an account is stated as such.
        job.following = accounts or Hop(self.name, server_s=None).to_text()
        job.hop.lap("decode_s", start)
        return response

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.close()

    @property
    def name(self) -> str:
        """The tier's name, or else the address."""
        return self._hop.tier or self._hop.url.split("//")[-1]

    def _ask_binary(self, job: Job) -> bool:
        """Whether the server's metadata list the binary extension."""
        reply = self._request(job, "GET", "/v2", (), ())
        if reply.status != 200:
            raise _refusal_of(reply, f"{self.name}, asked for its metadata (GET /v2),")
        try:
            metadata = json.loads(bytes(reply.body))
        except ValueError as error:
            raise NextHopFailed(f"{self.name} is no inference server: {error}") from error
        extensions = metadata.get("extensions") if isinstance(metadata, dict) else None
        return isinstance(extensions, list) and BINARY_EXTENSION in extensions

    def _request(
        self, job: Job, method: str, path: str, body: Sequence[Buffer], headers: Headers
    ) -> RawReply:
        try:
            return self._pool.request(
                method, path, body, headers, deadline=job.deadline, on_connection=job.attach
            )
        except OSError as error:
            job.check()
            if isinstance(error, TimeoutError) and job.deadline is not None:
                raise DeadlinePassed(
                    "The request's timeout has passed at the next tier."
                ) from error
            raise NextHopFailed(
                f"{self.name} at {self._pool.address.text} failed: {_why(error)}"
            ) from error
        finally:
            job.attach(None)


def _why(error: OSError) -> str:
    return " ".join(advise(error)) if isinstance(error, ssl.SSLError) else f"{error}."


def _accounts(found: object) -> bytes:
    """The entries of a timing that has been read; empty where it is none."""
    if isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
        return orjson.dumps(found)[1:-1]
    return b""


def _refusal_of(reply: RawReply, who: str) -> Refusal:
    said: Any
    try:
        told = parse_json(reply.body)
        # FastAPI's servers (MLServer, KServe) explain a 422 in `detail`.
        said = told.get("error", told.get("detail", ""))
    except Refusal:
        said = bytes(reply.body[:200]).decode("utf-8", "replace")
    message = f"{who} answered {reply.status}: {said!s:.1000}"
    kinds: dict[int, type[Refusal]] = {503: Overloaded, 504: DeadlinePassed, 400: BadRequest}
    return kinds.get(reply.status, NextHopFailed)(message)
