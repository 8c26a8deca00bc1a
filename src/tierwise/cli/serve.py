"""Serve a tier, or whole models, over the Open Inference Protocol."""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tierwise.cli.terminal import terminal
from tierwise.errors import UserError
from tierwise.runtime.session import DEFAULT
from tierwise.serving.agent import AgentOptions, parse_listen, serve
from tierwise.serving.limits import DEFAULT_LIMITS, Limits
from tierwise.serving.logs import log_as_json
from tierwise.serving.security import read_token
from tierwise.serving.tls import server_tls, tls_of
from tierwise.serving.warm_sessions import own_limit_bytes
from tierwise.tiers.topology import TlsFiles
from tierwise.units import parse_size_bytes


@Parameter(name="*")
@dataclass(frozen=True)
class Certificates:
    """TLS of both sides.

    Attributes:
        tls_cert: Certificate chain (PEM); serve HTTPS.
        tls_key: Its private key (PEM).
        tls_client_ca: Only clients with a certificate of this authority (mutual TLS).
        next_ca: Authority that signed the next tiers' certificates; default: the system's.
        next_cert: Certificate (PEM) that this agent shows the next tiers (mutual TLS).
        next_key: Its private key (PEM).
    """

    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    next_ca: Path | None = None
    next_cert: Path | None = None
    next_key: Path | None = None

    def __post_init__(self) -> None:
        """A certificate is of no use without its key."""
        if (self.tls_cert is None) != (self.tls_key is None) or (
            self.tls_client_ca and not self.tls_cert
        ):
            raise UserError(
                "TLS needs a certificate and its key.", hint="Give both --tls-cert and --tls-key."
            )
        if (self.next_cert is None) != (self.next_key is None):
            raise UserError(
                "A certificate for the next tiers needs its key.",
                hint="Give both --next-cert and --next-key.",
            )

    @property
    def own(self) -> tuple[Path, Path, Path | None] | None:
        """Certificate, key and the clients' authority; ``None``: no TLS."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return self.tls_cert, self.tls_key, self.tls_client_ca

    def for_next_tiers(self) -> TlsFiles:
        """What connections to the next tiers use; raises :class:`UserError` if it cannot be."""
        files = TlsFiles(self.next_ca, self.next_cert, self.next_key)
        tls_of(files)
        return files


@Parameter(name="*")
@dataclass(frozen=True)
class Accepted:
    """What the agent takes.

    Attributes:
        queue: Requests that may wait; more are answered 503 with Retry-After.
        max_model: Largest model file that is accepted.
        max_body: Largest request body that is accepted.
        allow_custom_operators: Let ONNX Runtime try models with operators of unknown domains.
    """

    queue: int = DEFAULT_LIMITS.queue_size
    max_model: str = "4GiB"
    max_body: str = "256MiB"
    allow_custom_operators: bool = False

    def limits(self) -> Limits:
        """The same in numbers; raises :class:`UserError`."""
        return replace(
            DEFAULT_LIMITS,
            queue_size=self.queue,
            max_model_bytes=parse_size_bytes(self.max_model),
            max_body_bytes=parse_size_bytes(self.max_body),
        )


@Parameter(name="*")
@dataclass(frozen=True)
class Cache:
    """Where received models are kept.

    Attributes:
        cache: Folder where received segments are kept, by content hash.
        cache_size: The most that it may hold (`20GiB`, or `none`); the least recently used segments
            that no agent has loaded make room. Default: half of what is free there and what it
            holds, together.
    """

    cache: Path = Path("~/.cache/tierwise/artifacts")
    cache_size: str | None = None

    @property
    def limit_bytes(self) -> float | None:
        """The bound; ``None``: the default. Raises :class:`UserError`."""
        if self.cache_size is None:
            return None
        return math.inf if self.cache_size == "none" else parse_size_bytes(self.cache_size)


@Parameter(name="*")
@dataclass(frozen=True)
class Work:
    """How models run.

    Attributes:
        threads: Intra-op threads of a session.
        provider: Execution provider of whole models, such as CUDAExecutionProvider; given several
            times, the preferred one first. A stage names its own.
        memory: Close idle models to stay within this size (`512MiB`), or within this process's
            control group (`auto`); they are opened again when asked for. Default: keep all open.
        concurrency: Inferences that run at once; more wait in the queue.
        workers: Requests worked on at once, those that wait for the next tier included.
    """

    threads: int = 1
    provider: Annotated[list[str], Parameter(negative=())] | None = None
    memory: str | None = None
    concurrency: int = 1
    workers: int = 8

    def __post_init__(self) -> None:
        """Nothing works with none of them."""
        for name in ("threads", "concurrency", "workers"):
            value = getattr(self, name)
            if value < 1:
                raise UserError(f"--{name} is {value}.", hint="Write at least 1.")

    @property
    def memory_bytes(self) -> int | None:
        """The limit; ``None``: no limit. Raises :class:`UserError`."""
        if self.memory != "auto":
            return None if self.memory is None else parse_size_bytes(self.memory)
        found = own_limit_bytes()
        if found is None:
            raise UserError(
                "--memory auto: no control group limits this process's memory.",
                hint="Write a size, such as --memory 512MiB.",
            )
        return found


@Parameter(name="*")
@dataclass(frozen=True)
class Reached:
    """Where the agent is reached, and by whom.

    Attributes:
        listen: HOST:PORT; port 0 picks a free one. Anything but loopback needs a token.
        grpc: HOST:PORT for gRPC, besides HTTP; needs the extra `grpc`.
        token_file: File with the token that every request must carry.
    """

    listen: str = "127.0.0.1:8080"
    grpc: str | None = None
    token_file: Path | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Served:
    """What the agent serves before anything is sent to it.

    Attributes:
        model: NAME=FILE.onnx of a whole model; may be given several times.
        stage: File of a stage, as `tierwise deploy` writes it; may be given several times.
    """

    model: Annotated[list[str], Parameter(negative=())] | None = None
    stage: Annotated[list[Path], Parameter(negative=())] | None = None

    def models(self) -> dict[str, Path]:
        """Files by name; raises :class:`UserError`."""
        return dict(map(_parse_model, self.model or ()))


def command(
    *,
    tier: str = "tier",
    reached: Reached | None = None,
    served: Served | None = None,
    cache: Cache | None = None,
    work: Work | None = None,
    certificates: Certificates | None = None,
    accepted: Accepted | None = None,
    log_format: Literal["text", "json"] = "text",
) -> None:
    """Serve a tier, or whole models, over the Open Inference Protocol (KServe V2, HTTP and gRPC).

    A study sends its segments to the agents that its file names with `url:`. With
    `--model NAME=FILE.onnx` the agent is an inference server of its own. When it is ready it
    prints one JSON line on standard output: `{"listening": "http://HOST:PORT", ...}`. SIGTERM
    and Ctrl-C let requests under way finish.

    Args:
        tier: Name of the tier, as the study file has it.
        reached: Where the agent is reached, and by whom.
        served: What the agent serves before anything is sent to it.
        cache: Where received models are kept.
        work: How models run.
        certificates: TLS of both sides.
        accepted: What the agent takes.
        log_format: Log lines on standard error: text, or JSON objects, one for every request too.
    """
    if log_format == "json":
        log_as_json(terminal.level)
    options = _options(
        tier,
        reached or Reached(),
        served or Served(),
        cache=cache or Cache(),
        work=work or Work(),
        certificates=certificates or Certificates(),
        accepted=accepted or Accepted(),
    )
    logging.getLogger("tierwise").debug("limits: %s", options.limits)
    serve(options)


def _options(
    tier: str,
    reached: Reached,
    served: Served,
    *,
    cache: Cache,
    work: Work,
    certificates: Certificates,
    accepted: Accepted,
) -> AgentOptions:
    """All of them, as the agent takes them."""
    host, port = parse_listen(reached.listen)
    return AgentOptions(
        tier=tier,
        host=host,
        port=port,
        threads=work.threads,
        cache=cache.cache,
        cache_bytes=cache.limit_bytes,
        models=served.models(),
        stages=served.stage or (),
        concurrency=work.concurrency,
        workers=work.workers,
        token=None if reached.token_file is None else read_token(reached.token_file),
        tls=None if certificates.own is None else server_tls(*certificates.own),
        next_tls=certificates.for_next_tiers(),
        grpc=None if reached.grpc is None else parse_listen(reached.grpc, flag="--grpc"),
        grpc_tls=certificates.own,
        providers=tuple(work.provider or DEFAULT.providers),
        memory_bytes=work.memory_bytes,
        allow_custom_operators=accepted.allow_custom_operators,
        limits=accepted.limits(),
    )


def _parse_model(text: str) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not separator or not name or not file:
        raise UserError(f"--model {text!r} names no file.", hint="Write --model NAME=FILE.onnx.")
    return name, Path(file)
