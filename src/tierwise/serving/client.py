"""The client of an agent: what a study uses to deploy stages and to send timed requests."""

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import numpy as np

from tierwise.errors import TierFault, UserError
from tierwise.serving.artifacts import sha256_of
from tierwise.serving.connection_pool import ConnectionPool, fault_of
from tierwise.serving.decoding import decode_outputs
from tierwise.serving.encoding import JSON_HEADERS, encode_request
from tierwise.serving.faults import Refusal
from tierwise.serving.http_client import RawReply
from tierwise.serving.http_head import json_length
from tierwise.serving.messages import WireTensor
from tierwise.serving.repository import IMAGE
from tierwise.serving.routes import infer_path
from tierwise.serving.stage import StageSpec
from tierwise.serving.strict_json import parse_json
from tierwise.serving.timing import TIMING, Hop
from tierwise.tiers.dialling import Dial

# An agent that starts takes about a second; asking more often would slow it down.
_ASK_AGAIN_S = 0.05
# heuristic: an agent that removes it as often at once has no room for what it was given to do.
_SENT_AGAIN = 3


@dataclass(frozen=True)
class Reply:
    """The answer to one inference request.

    Attributes:
        outputs: By name.
        hops: Every tier's account, in order; empty where timing wasn't asked for, or the server
            gives none.
        total_s: From the call to the decoded outputs: what the user waited.
        client_s: The part of it that encoding and decoding took on this side.
        sent_bytes: Size of the request, headers included.
        received_bytes: Size of the answer, headers included.
    """

    outputs: Mapping[str, np.ndarray]
    hops: tuple[Hop, ...]
    total_s: float
    client_s: float
    sent_bytes: int
    received_bytes: int


@dataclass
class _Patience:
    """How long a call may take."""

    seconds: float | None
    deadline: float | None = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = None if self.seconds is None else time.perf_counter() + self.seconds


class AgentClient:
    """Talks to one agent (or any Open Inference Protocol server). Threads may share it."""

    def __init__(
        self,
        url: str,
        dial: Dial | None = None,
        token: str | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        timeout_s: float | None = 120.0,
    ) -> None:
        """Talk to the agent at ``url``.

        Args:
            url: ``http://HOST:PORT``.
            dial: ``dial(host, port)`` makes a TCP connection; emulated topologies connect from
                inside a network namespace.
            token: What the agent asks for.
            tls: For ``https``; default: the system's authorities.
            timeout_s: The most that a call may take; ``None``: for ever.

        Raises:
            UserError: ``url`` isn't an address.
        """
        self._pool = ConnectionPool(url, dial=dial, token=token, tls=tls)
        self._timeout_s = timeout_s

    @property
    def url(self) -> str:
        """The agent's address."""
        return self._pool.address.text

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Return as soon as the agent is ready.

        Raises:
            TierFault: it was not after ``timeout_s``, or one of both refuses the other's TLS.
        """
        end = time.perf_counter() + timeout_s
        while True:
            try:
                reply = self._pool.request("GET", "/v2/health/ready", deadline=end)
                if reply.status == 200:
                    return
                last = f"it answers {reply.status}"
            except ssl.SSLError as error:  # stays so
                raise fault_of(error, self.url, "asking whether it is ready") from error
            except OSError as error:
                last = str(error)
            if time.perf_counter() + _ASK_AGAIN_S > end:
                raise TierFault(
                    f"The agent at {self.url} was not ready after {timeout_s:g} s: {last}.",
                    hint="Look at its standard error; start it with `tierwise serve`.",
                    url=self.url,
                )
            time.sleep(_ASK_AGAIN_S)

    def put_artifact(self, path: Path, sha256: str | None = None) -> str:
        """Make sure that the agent has a model file.

        Args:
            path: The file.
            sha256: Its hash, where it is known already.

        Returns:
            Its SHA-256, for :attr:`StageSpec.artifact`.

        Raises:
            TierFault: the agent refuses it (too large, disk full), or cannot be reached.
        """
        digest = sha256 or sha256_of(path)
        where = f"/tierwise/v1/artifacts/{digest}"
        with self._patience("asking for an artefact") as patience:
            if self._pool.request("HEAD", where, deadline=patience.deadline).status == 200:
                return digest
        # Memory-mapped: a large file is sent without being read into memory first.
        content = np.memmap(path, np.uint8, mode="r")
        with self._patience(f"sending {path.name}") as patience:
            self._check(
                self._pool.request("PUT", where, [content.data], deadline=patience.deadline),
                f"take {path.name}",
                {503: "Unload models there, or raise `tierwise serve --cache-size`."},
            )
        return digest

    def load(self, stage: StageSpec, file: Path | None = None) -> None:
        """Serve ``stage``; its artefact is there already.

        Args:
            stage: What to serve.
            file: The artefact, sent again where the agent removed it meanwhile to make room.

        Raises:
            TierFault: the agent refuses it, or cannot be reached.
        """
        body = json.dumps({"parameters": {"config": stage.to_json()}}).encode()
        path, what = f"/v2/repository/models/{quote(stage.name)}/load", f"load {stage.name}"
        again = 0 if file is None else _SENT_AGAIN
        while True:
            try:
                self._post(path, body, what, {404: "Send its artefact first."})
            except TierFault as fault:
                status = getattr(fault, "status", None)
                if file is None or not again or status != HTTPStatus.NOT_FOUND:
                    raise
            else:
                return
            again -= 1
            self.put_artifact(file, stage.artifact)

    def unload(self, name: str) -> None:
        """Stop serving ``name``; raises :class:`TierFault`."""
        self._post(f"/v2/repository/models/{quote(name)}/unload", b"{}", f"unload {name}")

    def index(self) -> list[dict[str, Any]]:
        """The loaded models, as Triton's repository index lists them; raises :class:`TierFault`."""
        reply = self._post("/v2/repository/index", b"{}", "list its models")
        return list(json.loads(bytes(reply.body)))

    def metadata(self) -> dict[str, Any]:
        """The server's metadata (``GET /v2``); raises :class:`TierFault`."""
        with self._patience("asking for its metadata") as patience:
            reply = self._pool.request("GET", "/v2", deadline=patience.deadline)
        try:
            return parse_json(self._check(reply, "tell its metadata").body)
        except Refusal as error:
            raise TierFault(
                f"The metadata of {self.url} cannot be understood: {error}",
                hint="Is it an Open Inference Protocol server?",
                url=self.url,
            ) from error

    def infer(
        self,
        model: str,
        payload: bytes | Mapping[str, np.ndarray],
        *,
        timing: bool = True,
        timeout_s: float | None = None,
    ) -> Reply:
        """Send one request and wait for the answer.

        Args:
            model: Name of the model or stage.
            payload: The user's encoded image, or tensors by name.
            timing: Ask for the tiers' accounts; only Tierwise's agents know the word.
            timeout_s: The request's own deadline: the tiers drop it when it has passed.

        Raises:
            TierFault: the agent refuses (``.status``), fails or cannot be reached.
        """
        start = time.perf_counter()
        parameters: dict[str, Any] = {TIMING: True} if timing else {}
        if timeout_s is not None:
            parameters["timeout"] = max(1, round(timeout_s * 1e6))
        body, headers = encode_request(_tensors(payload), parameters)
        encoded = time.perf_counter()
        patience_s = timeout_s or self._timeout_s
        deadline = None if patience_s is None else encoded + patience_s
        try:
            reply = self._pool.request("POST", infer_path(model), body, headers, deadline=deadline)
        except OSError as error:
            raise fault_of(error, self.url, f"inference of {model}") from error
        answered = time.perf_counter()
        if reply.status != 200:
            self._check(reply, f"run {model}")
        try:
            response, told = decode_outputs(reply.body, json_length(reply.headers))
            outputs = {tensor.name: tensor.array for tensor in response.outputs}
            done = time.perf_counter()
            # Not part of what the user waited for: the accounts are the measurement's.
            accounts = told.read().get(TIMING, ()) if timing else ()
            hops = tuple(Hop.from_json(entry) for entry in accounts)
        except (Refusal, ValueError, AttributeError, TypeError) as error:
            raise TierFault(
                f"The answer of {self.url} to {model} cannot be understood: {error}",
                hint="Is it an Open Inference Protocol server?",
                url=self.url,
            ) from error
        return Reply(
            outputs=outputs,
            hops=hops,
            total_s=done - start,
            client_s=(encoded - start) + (done - answered),
            sent_bytes=reply.sent_bytes,
            received_bytes=reply.received_bytes,
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _post(
        self, path: str, body: bytes, what: str, hints: Mapping[int, str] | None = None
    ) -> RawReply:
        with self._patience(what) as patience:
            reply = self._pool.request(
                "POST", path, [body], JSON_HEADERS, deadline=patience.deadline
            )
        return self._check(reply, what, hints)

    @contextmanager
    def _patience(self, what: str, timeout_s: float | None = None) -> Iterator[_Patience]:
        try:
            yield _Patience(timeout_s or self._timeout_s)
        except OSError as error:
            raise fault_of(error, self.url, what) from error

    def _check(
        self, reply: RawReply, what: str, hints: Mapping[int, str] | None = None
    ) -> RawReply:
        if 200 <= reply.status < 300:
            return reply
        try:
            said = str(parse_json(reply.body).get("error", ""))
        except Refusal:
            said = bytes(reply.body[:500]).decode("utf-8", "replace")
        hints = {
            404: "Load it first.",
            401: "Give the agent's token: `token_env` of a study file's tier.",
            413: "Raise the agent's limit: `tierwise serve --max-body`, `--max-model`.",
            503: "Send fewer requests at once, or raise `tierwise serve --queue`.",
            **(hints or {}),
        }
        raise TierFault(
            f"The agent at {self.url} refused to {what} ({reply.status}): {said:.2000}",
            hint=hints.get(reply.status),
            url=self.url,
            status=reply.status,
        )


def _tensors(payload: bytes | Mapping[str, np.ndarray]) -> list[WireTensor]:
    if isinstance(payload, (bytes, bytearray)):
        image = np.empty(1, dtype=object)
        image[0] = bytes(payload)
        return [WireTensor(IMAGE, image)]
    if not payload:
        raise UserError("There is nothing to send.", hint="Give an encoded image or tensors.")
    return [WireTensor(name, np.asarray(array)) for name, array in payload.items()]
