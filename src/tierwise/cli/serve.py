"""Serve a tier, or whole models, over the Open Inference Protocol."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tierwise.cli.terminal import terminal
from tierwise.errors import UserError
from tierwise.runtime.session import DEFAULT
from tierwise.serving.agent import AgentOptions, parse_listen, serve
from tierwise.serving.limits import DEFAULT_LIMITS
from tierwise.serving.logs import log_as_json
from tierwise.serving.security import client_tls, read_token, server_tls
from tierwise.serving.warm_sessions import own_limit_bytes
from tierwise.units import parse_size_bytes


def command(
    *,
    tier: str = "tier",
    listen: str = "127.0.0.1:8080",
    grpc: str | None = None,
    model: Annotated[list[str], Parameter(negative=())] | None = None,
    stage: Annotated[list[Path], Parameter(negative=())] | None = None,
    threads: int = 1,
    provider: Annotated[list[str], Parameter(negative=())] | None = None,
    memory: str | None = None,
    concurrency: int = 1,
    workers: int = 8,
    queue: int = DEFAULT_LIMITS.queue_size,
    cache: Path = Path("~/.cache/tierwise/artifacts"),
    token_file: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_client_ca: Path | None = None,
    next_ca: Path | None = None,
    next_cert: Path | None = None,
    next_key: Path | None = None,
    max_model: str = "4GiB",
    max_body: str = "256MiB",
    allow_custom_operators: bool = False,
    log_format: Literal["text", "json"] = "text",
) -> None:
    """Serve a tier, or whole models, over the Open Inference Protocol (KServe V2, HTTP and gRPC).

    A study sends its segments to the agents that its file names with `url:`. With
    `--model NAME=FILE.onnx` the agent is an inference server of its own. When it is ready it
    prints one JSON line on standard output: `{"listening": "http://HOST:PORT", ...}`. SIGTERM
    and Ctrl-C let requests under way finish.

    Args:
        tier: Name of the tier, as the study file has it.
        listen: HOST:PORT; port 0 picks a free one. Anything but loopback needs a token.
        grpc: HOST:PORT for gRPC, besides HTTP; needs the extra `grpc`.
        model: NAME=FILE.onnx of a whole model; may be given several times.
        stage: File of a stage, as `tierwise deploy` writes it; may be given several times.
        threads: Intra-op threads of a session.
        provider: Execution provider of whole models, such as CUDAExecutionProvider; given several
            times, the preferred one first. A stage names its own.
        memory: Close idle models to stay within this size (`512MiB`), or within this process's
            control group (`auto`); they are opened again when asked for. Default: keep all open.
        concurrency: Inferences that run at once; more wait in the queue.
        workers: Requests worked on at once, those that wait for the next tier included.
        queue: Requests that may wait; more are answered 503 with Retry-After.
        cache: Folder where received segments are kept, by content hash.
        token_file: File with the token that every request must carry.
        tls_cert: Certificate chain (PEM); serve HTTPS.
        tls_key: Its private key (PEM).
        tls_client_ca: Only clients with a certificate of this authority (mutual TLS).
        next_ca: Authority that signed the next tiers' certificates; default: the system's.
        next_cert: Certificate (PEM) that this agent shows the next tiers (mutual TLS).
        next_key: Its private key (PEM).
        max_model: Largest model file that is accepted.
        max_body: Largest request body that is accepted.
        allow_custom_operators: Let ONNX Runtime try models with operators of unknown domains.
        log_format: Log lines on standard error: text, or JSON objects.
    """
    if log_format == "json":
        log_as_json(terminal.level)
    host, port = parse_listen(listen)
    for name, value in (("threads", threads), ("concurrency", concurrency), ("workers", workers)):
        if value < 1:
            raise UserError(f"--{name} is {value}.", hint="Write at least 1.")
    limits = replace(
        DEFAULT_LIMITS,
        queue_size=queue,
        max_model_bytes=parse_size_bytes(max_model),
        max_body_bytes=parse_size_bytes(max_body),
    )
    _check_pairs(tls_cert, tls_key, tls_client_ca, next_cert, next_key)
    next_tls = client_tls(next_ca, next_cert, next_key) if next_ca or next_cert else None
    tls = server_tls(tls_cert, tls_key, tls_client_ca) if tls_cert and tls_key else None
    logging.getLogger("tierwise").debug("limits: %s", limits)
    serve(
        AgentOptions(
            tier=tier,
            host=host,
            port=port,
            threads=threads,
            cache=cache,
            models=dict(_parse_model(text) for text in model or []),
            stages=stage or (),
            concurrency=concurrency,
            workers=workers,
            token=None if token_file is None else read_token(token_file),
            tls=tls,
            next_tls=next_tls,
            grpc=None if grpc is None else parse_listen(grpc, flag="--grpc"),
            grpc_tls=(tls_cert, tls_key, tls_client_ca) if tls_cert and tls_key else None,
            providers=tuple(provider or DEFAULT.providers),
            memory_bytes=None if memory is None else _memory_bytes(memory),
            allow_custom_operators=allow_custom_operators,
            limits=limits,
        )
    )


def _parse_model(text: str) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not separator or not name or not file:
        raise UserError(f"--model {text!r} names no file.", hint="Write --model NAME=FILE.onnx.")
    return name, Path(file)


def _check_pairs(
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    next_cert: Path | None,
    next_key: Path | None,
) -> None:
    """A certificate is of no use without its key."""
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca and not tls_cert):
        raise UserError(
            "TLS needs a certificate and its key.", hint="Give both --tls-cert and --tls-key."
        )
    if (next_cert is None) != (next_key is None):
        raise UserError(
            "A certificate for the next tiers needs its key.",
            hint="Give both --next-cert and --next-key.",
        )


def _memory_bytes(text: str) -> int:
    if text != "auto":
        return parse_size_bytes(text)
    found = own_limit_bytes()
    if found is None:
        raise UserError(
            "--memory auto: no control group limits this process's memory.",
            hint="Write a size, such as --memory 512MiB.",
        )
    return found
