"""What one tier does, whatever a request came over: models, inference, counts and log lines."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

from tierwise.runtime.instructions import cpu_instructions
from tierwise.serving.faults import (
    BadRequest,
    Cancelled,
    Failed,
    NotFound,
    Overloaded,
    Refusal,
)
from tierwise.serving.inference import Slots, infer
from tierwise.serving.job import Job
from tierwise.serving.limits import Limits
from tierwise.serving.logs import FIELDS
from tierwise.serving.messages import InferRequest, InferResponse
from tierwise.serving.repository import VERSION, Repository, ServedModel
from tierwise.serving.stage import StageSpec
from tierwise.serving.strict_json import parse_json
from tierwise.serving.timing import TIMING

log = logging.getLogger(__name__)
requests_log = logging.getLogger("tierwise.requests")

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")


class TierService:
    """One tier. Any number of threads may use it."""

    def __init__(
        self, tier: str, repository: Repository, limits: Limits, *, concurrency: int
    ) -> None:
        """Serve ``repository`` with ``concurrency`` inferences at once."""
        self.tier = tier
        self.repository = repository
        self.ready = True
        self.limits = limits
        # Asked once: whoever wants every request in the log starts the agent with it.
        self._log_all = requests_log.isEnabledFor(logging.INFO)
        self._slots = Slots(concurrency)
        self._under_way: set[int] = set()
        # Loading is slow and rare: one at a time, never in the way of inference.
        self.loader = ThreadPoolExecutor(1, thread_name_prefix="load")

    # -- inference -------------------------------------------------------------------------------

    @property
    def under_way(self) -> int:
        """Inferences that run, or wait for their turn or for the next tier."""
        return len(self._under_way)

    def job(self, received_at: float, received_bytes: int) -> Job:
        """The clock of a request that has arrived; raises :class:`Overloaded` while stopping."""
        if not self.ready:
            raise Overloaded("The agent is stopping; ask another one.")
        return Job(self.tier, received_at, received_bytes)

    def infer(
        self, model: ServedModel, decode: Callable[[], InferRequest], job: Job
    ) -> tuple[InferRequest, InferResponse]:
        """One request; its account is counted, logged and, if asked for, told."""
        number = id(job)
        self._under_way.add(number)
        try:
            request, response = infer(model, decode, job, self._slots)
        except Exception as error:
            job.hop.server_s = time.perf_counter() - job.received_at
            model.statistics.add_failure(job.hop.server_s)
            if isinstance(error, Refusal) and not isinstance(error, Cancelled):
                _log_refusal(model, job, error)
            raise
        finally:
            self._under_way.discard(number)
        job.hop.server_s = time.perf_counter() - job.received_at
        model.statistics.add(job.hop)
        if self._log_all:
            _log_answer(model, job)
        timed = request.parameters.get(TIMING) is True
        return request, InferResponse(
            response.outputs, response.parameters, model.spec.name, VERSION, request.request_id,
            response.wire, job.accounts() if timed else b"",
        )  # fmt: skip

    def sweep(self) -> None:
        """Stop inferences whose client has left or whose time has passed."""
        self._slots.sweep()

    def refusal_for(self, error: Exception) -> Refusal:
        """The last line of defence: a bug, or a full disk, costs one request and not the tier."""
        log.error("a request failed", exc_info=error)
        if isinstance(error, OSError | MemoryError):
            return Overloaded(f"The agent's disk or memory failed: {error}.")
        return Failed("internal error; the agent's log says more")

    # -- models ----------------------------------------------------------------------------------

    def model(self, name: str, version: str = "") -> ServedModel:
        """A loaded model; raises :class:`NotFound` for another name or version."""
        model = self.repository.get(name)
        if version not in {"", VERSION}:
            raise NotFound(f"Model {name!r:.200} has version {VERSION}, not {version!r:.50}.")
        return model

    def metadata(self) -> dict[str, Any]:
        """The protocol's server metadata; and which tier it is, and what its CPU has for INT8."""
        return {
            "name": "tierwise",
            "version": version("tierwise"),
            "extensions": list(EXTENSIONS),
            "tier": self.tier,
            "instructions": cpu_instructions(),
        }

    def index(self, *, ready: bool) -> list[dict[str, str]]:
        """Triton's repository index; ``ready``: only models that take requests."""
        state = "READY" if self.ready else "UNAVAILABLE"
        names = sorted(self.repository.models) if self.ready or not ready else []
        return [{"name": name, "version": VERSION, "state": state, "reason": ""} for name in names]

    def load_stage(self, name: str, config: object) -> None:
        """Load the stage that ``config`` is the text of; raises :class:`Refusal`."""
        if not isinstance(config, str):
            raise BadRequest(
                "Give the stage as text in parameters.config; "
                "its artefact is sent first, by PUT /tierwise/v1/artifacts/SHA256."
            )
        parse_json(config.encode("utf-8", "replace"), self.limits)
        spec = StageSpec.from_json(config)
        if spec.name != name:
            raise BadRequest(
                f"The stage's name is {spec.name!r}, the request says {name!r:.200}: they must "
                "be the same."
            )
        start = time.perf_counter()
        self.repository.load(spec)
        log.info("loaded %s in %.3f s", spec.name, time.perf_counter() - start)

    def unload(self, name: str) -> None:
        """Unload a model; raises :class:`NotFound`."""
        self.repository.unload(name)
        log.info("unloaded %s", name)

    def in_turn(self, action: Callable[[], None]) -> None:
        """Load or unload when it is its turn, and wait for it; raises what ``action`` raises."""
        self.loader.submit(action).result()

    def close(self) -> None:
        """Give everything back."""
        self.loader.shutdown(wait=True)
        self.repository.close()


def _log_refusal(model: ServedModel, job: Job, refusal: Refusal) -> None:
    fields = _fields(model, job, refusal.status) | {"error": refusal.message}
    log.info(
        "refused %s: %d %s", model.spec.name, refusal.status, refusal.message,
        extra={FIELDS: fields},
    )  # fmt: skip


def _log_answer(model: ServedModel, job: Job) -> None:
    requests_log.info(
        "%s answered in %.3f ms", model.spec.name, 1e3 * (job.hop.server_s or 0.0),
        extra={FIELDS: _fields(model, job, 200)},
    )  # fmt: skip


def _fields(model: ServedModel, job: Job, status: int) -> dict[str, Any]:
    """One request, for machines: the account's durations in seconds, those that aren't zero."""
    account = {name: value for name, value in job.hop.to_json().items() if value}
    if job.request_id:
        account["request_id"] = job.request_id
    return {"model": model.spec.name, "status": status, **account}
