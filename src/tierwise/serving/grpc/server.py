"""The gRPC side of an agent: the same models, limits, token and accounts as over HTTP."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from tierwise.errors import EnvironmentFault, UserError
from tierwise.serving.faults import NotFound, Refusal
from tierwise.serving.grpc.convert import decode_message, encode_message
from tierwise.serving.grpc.schema import SERVICE, message_class
from tierwise.serving.repository import VERSION
from tierwise.serving.security import check_token
from tierwise.serving.service import TierService

log = logging.getLogger(__name__)
# As gRPC's own mapping from HTTP has it, where it has one.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_OPEN = frozenset({"ServerLive", "ServerReady"})


@dataclass(frozen=True)
class GrpcTls:
    """PEM files of the server side; with ``client_authority`` TLS is mutual."""

    certificate: Path
    key: Path
    client_authority: Path | None = None


@dataclass(frozen=True)
class _Received:
    """A message, its size, and ``time.perf_counter()`` when it had arrived."""

    message: Any
    wire_bytes: int
    at: float


class GrpcServer:
    """A listening gRPC server."""

    def __init__(
        self,
        service: TierService,
        host: str,
        port: int,
        *,
        workers: int,
        token: str | None = None,
        tls: GrpcTls | None = None,
    ) -> None:
        """Listen on ``host:port`` (port 0 picks a free one) and answer from ``service``.

        Raises:
            EnvironmentFault: the address is taken, or isn't this machine's.
            UserError: a file of ``tls`` cannot be read.
        """
        self._service = service
        self._limits = service.limits
        self._token = token
        self._server = grpc.server(
            ThreadPoolExecutor(workers, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=workers + service.limits.queue_size,
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", service.limits.max_body_bytes),
                ("grpc.max_send_message_length", -1),
            ],
        )
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(SERVICE, self._handlers())]
        )
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{shown}:{self._listen(f'{shown}:{port}', tls)}"
        self._server.start()

    def stop(self, grace_s: float) -> threading.Event:
        """Take nothing new; set when what is under way is done, at most ``grace_s`` from now."""
        stopped: threading.Event = self._server.stop(grace_s)
        return stopped

    def _listen(self, address: str, tls: GrpcTls | None) -> int:
        try:
            if tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, _credentials(tls))
        except RuntimeError as error:
            raise EnvironmentFault(
                f"Cannot listen on {address} for gRPC: {error}.",
                hint="Choose another port, or 0 for a free one: --grpc HOST:PORT.",
            ) from error
        return int(port)

    def _handlers(self) -> dict[str, Any]:
        answers: dict[str, Callable[[Any], Any]] = {
            "ServerLive": lambda _: {"live": True},
            "ServerReady": lambda _: {"ready": self._service.ready},
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: self._service.metadata(),
            "ModelMetadata": lambda m: self._service.model(m.name, m.version).metadata(),
            "ModelConfig": lambda m: {"config": self._service.model(m.name, m.version).config()},
            "ModelStatistics": self._statistics,
            "RepositoryIndex": lambda m: {"models": self._service.index(ready=m.ready)},
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        handlers = {}
        for name, answer in answers.items():
            made = partial(self._answer, name, partial(_from_json, name, answer))
            handlers[name] = _handler(name, made)
        handlers["ModelInfer"] = _handler("ModelInfer", self._infer)
        return handlers

    def _answer(
        self, name: str, answer: Callable[[Any], Any], received: _Received, context: Any
    ) -> Any:
        try:
            if name not in _OPEN:
                self._check_token(context)
            return answer(received.message)
        except Refusal as refusal:
            _abort(context, refusal)
        except Exception as error:  # noqa: BLE001 - refusal_for logs it with its traceback
            _abort(context, self._service.refusal_for(error))

    def _infer(self, received: _Received, context: Any) -> Any:
        service, message = self._service, received.message
        try:
            self._check_token(context)
            model = service.model(message.model_name, message.model_version)
            job = service.job(received.at, received.wire_bytes)
            job.limit(context.time_remaining())
            if not context.add_callback(job.cancel):
                job.cancel()
            decode = partial(decode_message, message, self._limits)
            _, response = service.infer(model, decode, job)
            return encode_message(response)
        except Refusal as refusal:
            _abort(context, refusal)
        except Exception as error:  # noqa: BLE001 - refusal_for logs it with its traceback
            _abort(context, service.refusal_for(error))

    def _check_token(self, context: Any) -> None:
        check_token(dict(context.invocation_metadata()), self._token)

    def _model_ready(self, message: Any) -> dict[str, Any]:
        try:
            self._service.model(message.name, message.version)
        except NotFound:  # a question, here: HTTP says the same with 404
            return {"ready": False}
        return {"ready": self._service.ready}

    def _statistics(self, message: Any) -> dict[str, Any]:
        if message.name:
            models = {message.name: self._service.model(message.name, message.version)}
        else:
            models = dict(self._service.repository.models)
        entries = [model.statistics.to_json(name, VERSION) for name, model in models.items()]
        return {"model_stats": entries}

    def _load(self, message: Any) -> dict[str, Any]:
        config = message.parameters.get("config")
        text = None if config is None else config.string_param
        load = partial(self._service.load_stage, message.model_name, text)
        self._service.in_turn(load)
        return {}

    def _unload(self, message: Any) -> dict[str, Any]:
        self._service.in_turn(partial(self._service.unload, message.model_name))
        return {}


def _handler(name: str, behaviour: Callable[[_Received, Any], Any]) -> Any:
    request = message_class(f"{name}Request")

    def read(raw: bytes) -> _Received:
        return _Received(request.FromString(raw), len(raw), time.perf_counter())

    return grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=read,
        response_serializer=lambda message: message.SerializeToString(),
    )


def _from_json(name: str, answer: Callable[[Any], Any], message: Any) -> Any:
    """The message that says what the HTTP side's JSON says; the schema has no tier, no batches."""
    response = message_class(f"{name}Response")()
    return json_format.ParseDict(answer(message), response, ignore_unknown_fields=True)


def _abort(context: Any, refusal: Refusal) -> None:
    """End the call with the refusal's status; raises, as gRPC wants it."""
    context.abort(_CODES.get(refusal.status, grpc.StatusCode.INTERNAL), refusal.message)


def _credentials(tls: GrpcTls) -> Any:
    try:
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        roots = None if tls.client_authority is None else tls.client_authority.read_bytes()
    except OSError as error:
        raise UserError(
            f"TLS for gRPC cannot be set up: {error}.", hint="Give --tls-cert and --tls-key."
        ) from error
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)
