"""The process behind ``tierwise serve``: one tier, listening."""

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.errors import EnvironmentFault, MissingExtra, UserError
from tierwise.runtime.session import DEFAULT
from tierwise.serving.application import AgentApplication
from tierwise.serving.artifacts import ArtifactCache, sha256_of
from tierwise.serving.faults import Refusal
from tierwise.serving.http_connections import Connections
from tierwise.serving.http_server import Connection
from tierwise.serving.limits import DEFAULT_LIMITS, Limits
from tierwise.serving.repository import Repository
from tierwise.serving.security import check_exposure
from tierwise.serving.service import TierService
from tierwise.serving.stage import StageSpec
from tierwise.tiers.topology import SYSTEM_TLS, TlsFiles

if TYPE_CHECKING:
    from tierwise.serving.grpc.server import GrpcServer

log = logging.getLogger(__name__)
_SWEEP_S = 0.5
_BACKLOG = 1024


@dataclass(frozen=True)
class AgentOptions:
    """How an agent runs.

    Attributes:
        tier: Name of the tier.
        host: Address to listen on.
        port: 0 picks a free one.
        grpc: Host and port for gRPC, or ``None``: HTTP only. Needs the extra ``grpc``.
        grpc_tls: PEM files for gRPC (certificate, key, authority of clients or ``None``).
        threads: Intra-op threads of a session, at most.
        cache: Folder of the model files.
        cache_bytes: They are kept within it together; ``None``: half of what is free there and what
            they take at the start.
        models: Whole models to serve, name to file.
        stages: Files of stages to serve, as `tierwise deploy` writes them; their segments are in
            ``cache``. A next hop gets this agent's own token.
        concurrency: Segments that compute at once.
        workers: Requests that are worked on at once; those above ``concurrency`` wait for the
            next tier.
        token: What requests must carry, or ``None`` on loopback.
        tls: For the server side.
        next_tls: For connections to the next tiers, as far as a stage doesn't say it.
        drain_s: How long requests under way may take after SIGTERM.
        providers: Execution providers of whole models, the preferred one first; a stage has its
            own.
        memory_bytes: Idle sessions are closed to stay within it; ``None``: never.
        allow_custom_operators: Leave it to ONNX Runtime to refuse unknown operators.
        limits: What is accepted.
    """

    tier: str
    host: str = "127.0.0.1"
    port: int = 0
    grpc: tuple[str, int] | None = None
    grpc_tls: tuple[Path, Path, Path | None] | None = None
    threads: int = 1
    cache: Path = Path("~/.cache/tierwise/artifacts")
    cache_bytes: float | None = None
    models: Mapping[str, Path] = field(default_factory=dict)
    stages: Sequence[Path] = ()
    concurrency: int = 1
    workers: int = 8
    token: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    next_tls: TlsFiles = SYSTEM_TLS
    drain_s: float = 30.0
    providers: tuple[str, ...] = DEFAULT.providers
    memory_bytes: int | None = None
    allow_custom_operators: bool = False
    limits: Limits = DEFAULT_LIMITS


def parse_listen(text: str, flag: str = "--listen") -> tuple[str, int]:
    """``HOST:PORT`` or ``[V6]:PORT``; raises :class:`UserError` on anything else."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UserError(
            f"{text!r} is not an address to listen on.",
            hint=f"Write {flag} 127.0.0.1:8080, or port 0 for a free one.",
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def serve(options: AgentOptions, announce: Callable[[str], None] | None = None) -> None:
    """Run an agent until SIGTERM or SIGINT; then finish what is under way and return.

    Args:
        options: How.
        announce: Gets one JSON line when the agent is ready:
            ``{"listening": "http://HOST:PORT", "tier": ..., "pid": ...}``; default: standard out.

    Raises:
        UserError: an option cannot be used.
        EnvironmentFault: the address is taken, or isn't this machine's.
    """
    for host in (options.host, *(options.grpc or ())[:1]):
        check_exposure(str(host), options.token)
    application = _application(options)
    try:
        asyncio.run(_serve(options, application, announce or _print_line))
    finally:
        application.close(timeout_s=5.0)


def _application(options: AgentOptions) -> AgentApplication:
    folder = options.cache.expanduser()
    try:
        cache = ArtifactCache(folder, options.limits.max_model_bytes, options.cache_bytes)
    except OSError as error:
        raise EnvironmentFault(
            f"The cache folder {folder} cannot be made or read: {error.strerror}.",
            hint="Name another one: tierwise serve --cache FOLDER.",
        ) from error
    repository = Repository(
        cache,
        threads=options.threads,
        allow_custom_operators=options.allow_custom_operators,
        tls=options.next_tls,
        memory_bytes=options.memory_bytes,
    )
    for name, path in options.models.items():
        try:
            repository.load_file(name, path, options.providers)
        except Refusal as refusal:
            raise UserError(
                f"Model {name}={path}: {refusal.message}",
                hint="Change --model NAME=FILE.onnx, or --provider.",
            ) from refusal
        except OSError as error:
            raise UserError(
                f"Model {name}={path} cannot be read: {error.strerror}.",
                hint="Write --model NAME=FILE.onnx.",
            ) from error
    for path in options.stages:
        try:
            repository.load(_read_stage(path, options))
        except Refusal as refusal:
            raise UserError(f"Stage {path}: {refusal.message}") from refusal
    service = TierService(options.tier, repository, options.limits, concurrency=options.concurrency)
    workers = max(options.workers, options.concurrency)
    return AgentApplication(service, workers=workers, token=options.token)


def _read_stage(path: Path, options: AgentOptions) -> StageSpec:
    try:
        spec = StageSpec.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"Stage {path} cannot be read: {error}.", hint="Write --stage FILE.json."
        ) from error
    segment = options.cache.expanduser() / f"{spec.artifact}.onnx"
    if segment.is_file() and sha256_of(segment) != spec.artifact:
        raise UserError(
            f"{segment} is not the segment that stage {path} names: its content was changed.",
            hint="Write the deployment again: tierwise deploy.",
        )
    if spec.next is None or spec.next.token is not None:
        return spec
    return spec.model_copy(update={"next": spec.next.model_copy(update={"token": options.token})})


async def _serve(
    options: AgentOptions, application: AgentApplication, announce: Callable[[str], None]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError):  # not in the main thread
            loop.add_signal_handler(number, stop.set)
    connections = Connections(application, options.limits)
    try:
        server = await loop.create_server(
            lambda: Connection(connections),
            options.host,
            options.port,
            ssl=options.tls,
            backlog=_BACKLOG,
        )
    except OSError as error:
        raise EnvironmentFault(
            f"Cannot listen on {options.host}:{options.port}: {error.strerror}.",
            hint="Choose another port, or 0 for a free one: --listen HOST:PORT.",
        ) from error
    sweeper = loop.create_task(_sweep(connections, application))
    remote_calls = None
    try:
        remote_calls = None if options.grpc is None else _serve_grpc(options, application)
        announce(_ready_line(options, server.sockets[0], remote_calls))
        log.info("tier %s is ready", options.tier)
        # What is there now stays: the collector needn't look at it again in every full round.
        gc.freeze()
        await stop.wait()
        application.service.ready = False
        stopped = None if remote_calls is None else remote_calls.stop(options.drain_s)
        await _drain(server, connections, application, options.drain_s)
        if stopped is not None:
            await loop.run_in_executor(None, stopped.wait)
    finally:
        if remote_calls is not None:
            remote_calls.stop(0.0)
        sweeper.cancel()
        server.close()
        for connection in list(connections.open):
            connection.abort()


def _serve_grpc(options: AgentOptions, application: AgentApplication) -> "GrpcServer":
    assert options.grpc is not None
    try:
        module = importlib.import_module("tierwise.serving.grpc.server")
    except ModuleNotFoundError as error:
        if error.name not in {"grpc", "google"}:
            raise
        raise MissingExtra(
            "gRPC needs grpcio, which is not installed.",
            hint="Install it: pip install 'tierwise[grpc]'. Or leave out --grpc.",
            extra="grpc",
        ) from error
    server: GrpcServer = module.GrpcServer(
        application.service,
        *options.grpc,
        workers=max(options.workers, options.concurrency),
        token=options.token,
        tls=None if options.grpc_tls is None else module.GrpcTls(*options.grpc_tls),
    )
    return server


def _ready_line(
    options: AgentOptions, sock: socket.socket, remote_calls: "GrpcServer | None"
) -> str:
    host, port = sock.getsockname()[:2]
    scheme = "http" if options.tls is None else "https"
    shown = f"[{host}]" if ":" in host else host
    line = {"listening": f"{scheme}://{shown}:{port}", "tier": options.tier, "pid": os.getpid()}
    if remote_calls is not None:
        line["grpc"] = remote_calls.address
    return json.dumps(line)


async def _sweep(connections: Connections, application: AgentApplication) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        connections.sweep()
        application.service.sweep()


async def _drain(
    server: asyncio.Server,
    connections: Connections,
    application: AgentApplication,
    drain_s: float,
) -> None:
    """Take nothing new, finish what is under way, for at most ``drain_s``."""
    log.info("stopping: %d requests under way", application.pending)
    application.service.ready = False
    connections.draining = True
    connections.lanes.close()
    server.close()
    end = time.perf_counter() + drain_s
    while time.perf_counter() < end:
        for connection in list(connections.open):
            connection.close_if_idle()
        if not connections.open and not application.pending:
            return
        await asyncio.sleep(0.02)


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
