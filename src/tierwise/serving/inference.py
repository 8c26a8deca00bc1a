"""One request through one stage: queue, decode, pre-process, run, encode, next hop, answer."""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote

import numpy as np

from tierwise.errors import TierwiseError
from tierwise.runtime.session import Session, open_session
from tierwise.serving.boundary import decode_boundary, encode_boundary
from tierwise.serving.codec import (
    InferRequest,
    InferResponse,
    WireTensor,
    decode_response,
    encode_request,
    parse_json,
)
from tierwise.serving.datatypes import datatype_of
from tierwise.serving.faults import (
    BadRequest,
    Cancelled,
    DeadlinePassed,
    NextHopFailed,
    Overloaded,
    Refusal,
)
from tierwise.serving.http_client import HttpConnection, RawReply, has_left
from tierwise.serving.repository import IMAGE, VERSION, ServedModel, TensorMetadata
from tierwise.serving.timing import TIMING, Hop

# How often a request that waits for its turn looks whether its client has left.
_LOOK_UP_S = 0.05
HEADER_LENGTH = "inference-header-content-length"


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
    """

    tier: str
    received_at: float
    received_bytes: int
    cancelled: bool = False
    deadline: float | None = None
    client: socket.socket | None = None
    hop: Hop = field(init=False)
    _connection: HttpConnection | None = None

    def __post_init__(self) -> None:
        self.hop = Hop(self.tier, received_bytes=self.received_bytes)

    def cancel(self) -> None:
        """The client has left: stop waiting for the next hop, which cancels there too."""
        self.cancelled = True
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
            self.deadline = self.received_at + timeout_us * 1e-6

    def check(self) -> None:
        """Raise where nobody waits for the answer any more."""
        if self.cancelled or (self.client is not None and has_left(self.client)):
            raise Cancelled("The client has left.")
        if self.deadline is not None and time.perf_counter() > self.deadline:
            raise DeadlinePassed("The request's timeout has passed.")


class Slots:
    """How many segments may compute at once on this tier."""

    def __init__(self, count: int) -> None:
        """``count`` at once."""
        self._free = threading.BoundedSemaphore(count)

    def wait(self, job: Job) -> None:
        """Take a slot, or raise what :meth:`Job.check` raises while waiting."""
        while not self._free.acquire(timeout=_LOOK_UP_S):
            job.check()

    def release(self) -> None:
        """Give it back."""
        self._free.release()


def infer(
    model: ServedModel, decode: Callable[[], InferRequest], job: Job, slots: Slots
) -> tuple[InferRequest, InferResponse]:
    """Run one request.

    Args:
        model: The stage.
        decode: Makes tensors of the request's bytes; its time is part of the account.
        job: The request's clock; its hop is filled in, except for ``server_s``.
        slots: Who may compute.

    Returns:
        The request, and the response without timing; with a next hop, that hop's response.

    Raises:
        Refusal: with the status to answer.
    """
    slots.wait(job)
    try:
        hop = job.hop
        start = time.perf_counter()
        hop.queue_s = start - job.received_at
        request = decode()
        job.set_timeout(request.parameters)
        job.check()
        image, tensors, carried = _sort_inputs(model, request)
        start = _lap(hop, "decode_s", start)
        if image is not None:
            tensors = {model.segment_inputs[0].name: _preprocess(model, image)}
            start = _lap(hop, "preprocess_s", start)
        feeds = {meta.name: _check(tensors, meta) for meta in model.segment_inputs}
        outputs = _run(model, feeds, hop)
        start = time.perf_counter()
        if model.next is None:
            outputs = {**carried, **outputs}
            wire = _finish(model, outputs, request, hop)
            return request, _response(model, request, wire)
        wire = encode_boundary({**carried, **outputs}, model.encodings)
        _lap(hop, "encode_s", start)
    finally:
        slots.release()
    return request, _forward(model, request, wire, job)


def _lap(hop: Hop, part: str, start: float) -> float:
    now = time.perf_counter()
    setattr(hop, part, getattr(hop, part) + now - start)
    return now


def _sort_inputs(
    model: ServedModel, request: InferRequest
) -> tuple[bytes | None, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The encoded image, the segment's inputs, and what passes through untouched."""
    image: bytes | None = None
    tensors: dict[str, np.ndarray] = {}
    carried: dict[str, np.ndarray] = {}
    known = {meta.name for meta in model.segment_inputs}
    for tensor in request.inputs:
        if model.preprocess is not None and tensor.name == IMAGE and tensor.array.dtype == object:
            if tensor.array.size != 1:
                raise BadRequest(
                    f"Input 'image' has shape {list(tensor.array.shape)}; send one image, [1]."
                )
            image = bytes(tensor.array.reshape(-1)[0])
        elif tensor.name in known:
            tensors[tensor.name] = decode_boundary(tensor)
        elif tensor.name in model.spec.carried:
            carried[tensor.name] = decode_boundary(tensor)
        else:
            names = ", ".join(meta.name for meta in model.inputs)
            raise BadRequest(
                f"Model {model.spec.name!r} has no input {tensor.name!r:.100}; its inputs: {names}."
            )
    return image, tensors, carried


def _preprocess(model: ServedModel, image: bytes) -> np.ndarray:
    assert model.preprocess is not None
    try:
        return model.preprocess.apply(image)
    except TierwiseError as error:
        raise BadRequest(str(error)) from error


def _check(tensors: Mapping[str, np.ndarray], meta: TensorMetadata) -> np.ndarray:
    """The feed for one input; raises where type or shape isn't what the segment takes."""
    array = tensors.get(meta.name)
    if array is None:
        raise BadRequest(f"Input {meta.name!r} is missing ({meta.datatype} {list(meta.shape)}).")
    got = datatype_of(array.dtype)
    if got != meta.datatype:
        raise BadRequest(f"Input {meta.name!r} is {got}; the model takes {meta.datatype}.")
    fits = len(array.shape) == len(meta.shape) and all(
        want in {-1, have} for have, want in zip(array.shape, meta.shape, strict=True)
    )
    if not fits:
        raise BadRequest(
            f"Input {meta.name!r} has shape {list(array.shape)}; the model takes "
            f"{list(meta.shape)} (-1: any size)."
        )
    return array


def _run(model: ServedModel, feeds: dict[str, np.ndarray], hop: Hop) -> dict[str, np.ndarray]:
    start = time.perf_counter()
    session: Session | None = model.session
    try:
        if session is None:
            session = open_session(model.path, model.options)
            hop.session_s = time.perf_counter() - start
        outputs = dict(session.run(feeds))
    except TierwiseError as error:
        raise BadRequest(f"Model {model.spec.name!r} did not run: {error}") from error
    _lap(hop, "compute_s", start)
    return outputs


def _finish(
    model: ServedModel, outputs: dict[str, np.ndarray], request: InferRequest, hop: Hop
) -> list[WireTensor]:
    """The last stage's outputs, post-processed, only those that are asked for."""
    start = time.perf_counter()
    try:
        outputs = model.postprocess.apply(outputs)
    except TierwiseError as error:
        raise BadRequest(str(error)) from error
    _lap(hop, "postprocess_s", start)
    if request.outputs:
        missing = [wanted.name for wanted in request.outputs if wanted.name not in outputs]
        if missing:
            raise BadRequest(
                f"Model {model.spec.name!r} has no output {missing[0]!r:.100}; its outputs: "
                f"{', '.join(outputs)}."
            )
        outputs = {wanted.name: outputs[wanted.name] for wanted in request.outputs}
    return [WireTensor(name, array) for name, array in outputs.items()]


def _response(model: ServedModel, request: InferRequest, wire: list[WireTensor]) -> InferResponse:
    return InferResponse(
        outputs=tuple(wire),
        model_name=model.spec.name,
        model_version=VERSION,
        request_id=request.request_id,
    )


def _forward(
    model: ServedModel, request: InferRequest, wire: list[WireTensor], job: Job
) -> InferResponse:
    """Send the segment's outputs on, and wait for the answer."""
    spec, pool = model.spec.next, model.next
    assert spec is not None
    assert pool is not None
    start = time.perf_counter()
    parameters: dict[str, object] = {}
    if spec.tierwise and request.parameters.get(TIMING) is True:
        parameters[TIMING] = True
    if job.deadline is not None:
        parameters["timeout"] = max(1, round((job.deadline - start) * 1e6))
    body, json_bytes = encode_request(wire, parameters, request.request_id)
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(json_bytes),
    }
    start = _lap(job.hop, "encode_s", start)
    try:
        reply = pool.request(
            "POST",
            f"/v2/models/{quote(spec.model)}/infer",
            body,
            headers,
            deadline=job.deadline,
            on_connection=job.attach,
        )
    except OSError as error:
        job.check()
        if isinstance(error, TimeoutError) and job.deadline is not None:
            raise DeadlinePassed("The request's timeout has passed at the next tier.") from error
        raise NextHopFailed(f"{_name(model)} at {pool.address.text} failed: {error}.") from error
    finally:
        job.attach(None)
    start = _lap(job.hop, "next_s", start)
    job.hop.sent_bytes = reply.sent_bytes
    if reply.status != 200:
        raise _refusal_of(reply, _name(model))
    try:
        response = decode_response(reply.body, json_length(reply.headers))
    except Refusal as error:
        raise NextHopFailed(f"{_name(model)} sent no inference response: {error}") from error
    _lap(job.hop, "decode_s", start)
    return response


def json_length(headers: Mapping[str, str]) -> int | None:
    """Length of a body's JSON part; ``None``: the whole body."""
    text = headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadRequest(f"Inference-Header-Content-Length is {text!r:.50}; write a number.")
    return int(text)


def next_hops(model: ServedModel, response: InferResponse) -> list[Hop]:
    """The accounts of the tiers behind this one; a server without one is stated as such."""
    if model.spec.next is None:
        return []
    told = response.parameters.get(TIMING)
    if isinstance(told, list):
        with suppress(ValueError, AttributeError):
            return [Hop.from_json(entry) for entry in told]
    return [Hop(_name(model), server_s=None)]


def _name(model: ServedModel) -> str:
    spec = model.spec.next
    assert spec is not None
    return spec.tier or spec.url.split("//")[-1]


def _refusal_of(reply: RawReply, who: str) -> Refusal:
    try:
        said = str(parse_json(reply.body).get("error", ""))
    except Refusal:
        said = bytes(reply.body[:200]).decode("utf-8", "replace")
    message = f"{who} answered {reply.status}: {said:.1000}"
    kinds: dict[int, type[Refusal]] = {503: Overloaded, 504: DeadlinePassed, 400: BadRequest}
    return kinds.get(reply.status, NextHopFailed)(message)
