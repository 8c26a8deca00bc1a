"""What an agent answers: the protocol's paths, Triton's extensions, and Tierwise's own two.

``GET /v2/health/live|ready``, ``GET /v2``,
``GET /v2/models/M[/versions/V][/ready|/config|/stats]``,
``POST .../infer``, ``GET /v2/models/stats``, ``POST /v2/repository/index``,
``POST /v2/repository/models/M/load|unload``, ``HEAD|PUT /tierwise/v1/artifacts/SHA256``,
``GET /metrics``, ``GET /openapi.json``.
"""

import json
import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from tierwise.serving.artifacts import Incoming
from tierwise.serving.decoding import decode_ahead, decode_request
from tierwise.serving.encoding import encode_response
from tierwise.serving.faults import BadRequest, NotFound, Overloaded, Refusal
from tierwise.serving.http_application import Respond, Sink
from tierwise.serving.http_head import HEADER_LENGTH, HttpRequest, HttpResponse, json_length
from tierwise.serving.job import Job
from tierwise.serving.logs import FIELDS
from tierwise.serving.messages import InferRequest, InferResponse
from tierwise.serving.metrics import AgentCollector, Metrics, room_counters, room_gauges
from tierwise.serving.openapi import openapi
from tierwise.serving.repository import VERSION, ServedModel
from tierwise.serving.routes import Handler, Path, Route, WrongMethod, is_infer, split_path
from tierwise.serving.security import check_token
from tierwise.serving.service import TierService
from tierwise.serving.strict_json import parse_json
from tierwise.serving.workers import Workers

log = logging.getLogger(__name__)

# heuristic: a queue that is full now has usually moved on after a second.
_RETRY_AFTER = {"Retry-After": "1"}
# Answered without a token, so that orchestrators can probe; they tell nothing else.
_OPEN_PATHS = frozenset({("v2", "health", "live"), ("v2", "health", "ready")})

_NOTHING = memoryview(b"")


class _Ahead(NamedTuple):
    """A request whose data is on its way into the views that it has; ``text``: its JSON part."""

    text: bytes
    decoded: InferRequest


class AgentApplication:
    """One agent's answers. Implements :class:`~tierwise.serving.http_application.Application`."""

    def __init__(self, service: TierService, *, workers: int, token: str | None = None) -> None:
        """Answer for ``service``, with ``workers`` threads."""
        self.service = service
        self._limits = service.limits
        self._token = token
        self._workers = Workers(workers, service.limits.queue_size, "infer")
        repository = service.repository
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "pending_requests": ("Requests that wait or run.", lambda: self.pending),
            "loaded_models": ("Models that are loaded.", lambda: len(repository.models)),
            "open_sessions": ("Sessions that are open.", lambda: repository.sessions.open_count),
            **room_gauges(repository.cache.room),
        }
        counters = room_counters(repository.cache.room)
        self._metrics = Metrics(
            AgentCollector(service.tier, lambda: repository.models, gauges, counters)
        )
        self._routes = self._build_routes()

    def _build_routes(self) -> Sequence[Route]:
        def get(path: str, handler: Handler) -> list[Route]:
            pattern = split_path(path)
            return [Route("GET", pattern, handler), Route("HEAD", pattern, handler)]

        def post(path: str, handler: Handler, *, slow: bool = False) -> Route:
            return Route("POST", split_path(path), handler, slow)

        model, versioned = "/v2/models/MODEL", "/v2/models/MODEL/versions/VERSION"
        routes = [
            *get("/v2/health/live", lambda *_: _json({"live": True})),
            *get("/v2/health/ready", self._get_ready),
            *get("/v2", self._get_server),
            *get("/v2/models/stats", self._get_all_statistics),
            *get("/metrics", self._get_metrics),
            *get("/openapi.json", lambda *_: _json(openapi(secured=self._token is not None))),
            post("/v2/repository/index", self._post_index),
            post("/v2/repository/models/MODEL/load", self._post_load, slow=True),
            post("/v2/repository/models/MODEL/unload", self._post_unload, slow=True),
            *get("/tierwise/v1/artifacts/SHA256", self._get_artifact),
        ]
        for base in (model, versioned):
            routes += [
                *get(base, lambda _, path: _json(self._model(path).metadata())),
                *get(f"{base}/ready", self._get_model_ready),
                *get(f"{base}/config", lambda _, path: _json(self._model(path).config())),
                *get(f"{base}/stats", self._get_statistics),
            ]
        return routes

    # -- Application ----------------------------------------------------------------------------

    def admit(self, request: HttpRequest, length: int | None) -> Sink | None:
        """Refuse what isn't worth reading; an artefact goes to the disk."""
        path = split_path(request.path)
        if path not in _OPEN_PATHS:
            check_token(request.headers, self._token)
        if request.method == "PUT" and path[:3] == ("tierwise", "v1", "artifacts"):
            if len(path) == 4:
                return self.service.repository.cache.receive(path[3], length)
        elif not is_infer(request.method, path):
            self._find(request.method, path)
        return None

    def handle(self, request: HttpRequest, sink: Sink | None, respond: Respond) -> None:
        """Answer in the event loop what takes no time; everything else in a thread."""
        path = split_path(request.path)
        try:
            if isinstance(sink, Incoming):
                self.service.loader.submit(self._answer, partial(_finish_artifact, sink), respond)
            elif is_infer(request.method, path):
                self._model(path)
                self._submit_infer(path, request, respond)
            else:
                route = self._find(request.method, path)
                answer = partial(route.handler, request, path)
                if route.slow:
                    self.service.loader.submit(self._answer, answer, respond)
                else:
                    self._answer(answer, respond)
        except Refusal as refusal:
            respond(self.refused(refusal))

    def refused(self, refusal: Refusal) -> HttpResponse:
        """``{"error": ...}`` with the refusal's status, which goes into the log, too."""
        fields = {"status": refusal.status, "error": refusal.message}
        log.info("refused: %d %s", refusal.status, refusal.message, extra={FIELDS: fields})
        return self._refusal(refusal)

    def _refusal(self, refusal: Refusal) -> HttpResponse:
        headers = dict(_RETRY_AFTER) if isinstance(refusal, Overloaded) else {}
        if refusal.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if isinstance(refusal, WrongMethod):
            headers["Allow"] = ", ".join(refusal.allowed)
        return _json({"error": refusal.message}, refusal.status, headers)

    def close(self, timeout_s: float) -> None:
        """Finish what is under way and give everything back."""
        self._workers.stop(timeout_s)
        self.service.close()

    @property
    def under_way(self) -> int:
        """Inference requests that are being answered."""
        return self.service.under_way

    @property
    def pending(self) -> int:
        """Inference requests that wait or run."""
        return self._workers.waiting + self.service.under_way

    def _answer(self, make: Callable[[], HttpResponse], respond: Respond) -> None:
        try:
            response = make()
        except Refusal as refusal:
            response = self.refused(refusal)
        except Exception as error:  # noqa: BLE001 - _failed logs it with its traceback
            response = self._failed(error)
        respond(response)

    def _failed(self, error: Exception) -> HttpResponse:
        return self._refusal(self.service.refusal_for(error))

    def _find(self, method: str, path: Path) -> Route:
        matching = [route for route in self._routes if route.matches(path)]
        for route in matching:
            if route.method == method:
                return route
        allowed = [route.method for route in matching]
        if is_infer("POST", path):
            allowed.append("POST")
        if path[:3] == ("tierwise", "v1", "artifacts") and len(path) == 4:
            allowed.append("PUT")
        if allowed:
            raise WrongMethod(method, allowed)
        raise NotFound(f"There is no path /{'/'.join(path):.200}. See /openapi.json.")

    # -- inference -------------------------------------------------------------------------------

    def expect(self, request: HttpRequest, client: socket.socket) -> Callable[[], HttpResponse]:
        """What will answer an inference request; ``client``: whose leaving cancels it."""
        check_token(request.headers, self._token)
        path = split_path(request.path)
        if not is_infer(request.method, path):
            self._find(request.method, path)
        self._model(path)
        job = self.service.job(request.received_at, request.wire_bytes)
        job.client = client
        ahead = [self._decode_ahead(request)]

        def answer() -> HttpResponse:
            job.arrived(request.received_at, request.wire_bytes)
            return self._infer(path, self._decoder(request, ahead.pop()), job)

        return answer

    def _decode_ahead(self, request: HttpRequest) -> _Ahead | None:
        """What can be decoded while the rest of the body is on its way."""
        try:
            json_bytes = _header_length(request, request.body)
        except Refusal:
            return None  # said when all of it has come
        decoded = decode_ahead(request.body, request.present, json_bytes, self._limits)
        return None if decoded is None else _Ahead(bytes(request.body[:json_bytes]), decoded)

    def _submit_infer(self, path: Path, request: HttpRequest, respond: Respond) -> None:
        job = self.service.job(request.received_at, request.wire_bytes)
        decode = self._decoder(request)
        request.on_cancel = job.cancel
        self._workers.submit(lambda: respond(self._infer(path, decode, job)))

    def _decoder(
        self, request: HttpRequest, ahead: _Ahead | None = None
    ) -> Callable[[], InferRequest]:
        # The body belongs to the decoder alone, so that it is gone as soon as it is decoded.
        body, request.body = request.body, _NOTHING
        if ahead is not None and body[: len(ahead.text)] == ahead.text:
            return lambda: ahead.decoded
        return lambda: decode_request(body, _header_length(request, body), self._limits)

    def _infer(self, path: Path, decode: Callable[[], InferRequest], job: Job) -> HttpResponse:
        try:
            # Looked up here: what waits for a request, or for its turn, must not hold a model that
            # has been unloaded since.
            return encode_answer(*self.service.infer(self._model(path), decode, job))
        except Refusal as refusal:  # the service has logged it
            return self._refusal(refusal)
        except Exception as error:  # noqa: BLE001 - _failed logs it with its traceback
            return self._failed(error)

    # -- everything else -------------------------------------------------------------------------

    def _model(self, path: Path) -> ServedModel:
        return self.service.model(path[2], path[4] if path[3:4] == ("versions",) else "")

    def _get_ready(self, *_: object) -> HttpResponse:
        ready = self.service.ready
        return _json({"ready": ready}, 200 if ready else 503)

    def _get_model_ready(self, _: HttpRequest, path: Path) -> HttpResponse:
        self._model(path)
        ready = self.service.ready
        return _json({"name": path[2], "ready": ready}, 200 if ready else 503)

    def _get_server(self, *_: object) -> HttpResponse:
        return _json(self.service.metadata())

    def _get_statistics(self, _: HttpRequest, path: Path) -> HttpResponse:
        model = self._model(path)
        return _json({"model_stats": [model.statistics.to_json(path[2], VERSION)]})

    def _get_all_statistics(self, *_: object) -> HttpResponse:
        models = self.service.repository.models.items()
        return _json({"model_stats": [m.statistics.to_json(name, VERSION) for name, m in models]})

    def _get_metrics(self, *_: object) -> HttpResponse:
        return HttpResponse(200, [self._metrics.text()], "text/plain; version=0.0.4; charset=utf-8")

    def _post_index(self, request: HttpRequest, _: Path) -> HttpResponse:
        options = parse_json(request.body, self._limits) if request.body else {}
        return _json(self.service.index(ready=options.get("ready") is True))

    def _post_load(self, request: HttpRequest, path: Path) -> HttpResponse:
        options = parse_json(request.body, self._limits) if request.body else {}
        parameters = options.get("parameters", {})
        config = parameters.get("config") if isinstance(parameters, dict) else None
        self.service.load_stage(path[3], config)
        return HttpResponse()

    def _post_unload(self, _: HttpRequest, path: Path) -> HttpResponse:
        self.service.unload(path[3])
        return HttpResponse()

    def _get_artifact(self, _: HttpRequest, path: Path) -> HttpResponse:
        size = self.service.repository.cache.path(path[3]).stat().st_size
        return _json({"sha256": path[3], "size_bytes": size})


def encode_answer(request: InferRequest, response: InferResponse) -> HttpResponse:
    """The response's bytes, each output as it was asked for."""
    wanted = {output.name: output.binary for output in request.outputs}
    body, json_bytes = encode_response(response, wanted, binary_default=request.binary_default)
    if json_bytes is None:
        return HttpResponse(200, body)
    headers = {"Inference-Header-Content-Length": str(json_bytes)}
    return HttpResponse(200, body, "application/octet-stream", headers)


def _header_length(request: HttpRequest, body: memoryview) -> int | None:
    if not body:
        raise BadRequest("The body is empty; send an inference request as JSON.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("Compressed bodies are not accepted; send it without Content-Encoding.")
    return json_length(request.headers) if HEADER_LENGTH in request.headers else None


def _finish_artifact(sink: Incoming) -> HttpResponse:
    sink.finish()
    return HttpResponse(201)


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(status, [json.dumps(value).encode()], headers=headers or {})
