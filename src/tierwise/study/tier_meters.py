"""Where a study's recipes are timed: here for emulated tiers, on the tier itself for real ones."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from hashlib import sha256

import numpy as np

from tierwise.data.source import Dataset
from tierwise.disk import scratch_folder
from tierwise.errors import TierFault
from tierwise.operators.quantize import LatencyMeter, LocalMeter
from tierwise.operators.quantize.latency import side_by_side
from tierwise.runtime.session import SessionOptions
from tierwise.serving.client import AgentClient
from tierwise.serving.stage import StageSpec
from tierwise.study.real_tiers import agent_client
from tierwise.tiers.topology import Tier, Topology

_READY_S = 30.0  # heuristic: a real tier's agent runs already, or somebody forgot to start it
_INPUTS = 8  # heuristic: inputs that requests take turns with; latency hardly depends on them


@contextmanager
def tier_meters(topology: Topology, data: Dataset) -> Iterator[dict[str, LatencyMeter]]:
    """A meter for every place where a variant may run, by the tiers' names (joined by ``", "``).

    Emulated tiers are shares of this machine's cores: they have its instructions, and a smaller
    share slows fp32 and 8 bits alike, so their ratio is measured here, once for every number of
    threads and providers. A real tier (``url``) may have other instructions: its agent is asked.

    Raises:
        TierFault: the agent of a real tier does not answer.
    """
    feeds = [data.feeds(index) for index in range(min(len(data), _INPUTS))]
    here: dict[SessionOptions, list[str]] = {}
    meters: dict[str, LatencyMeter] = {}
    with ExitStack() as stack:
        for tier in topology.tiers:
            if tier.url is None:
                here.setdefault(_options(tier), []).append(tier.name)
            else:
                meters[tier.name] = stack.enter_context(agent_meter(tier, feeds))
        for options, names in here.items():
            meters[", ".join(names)] = LocalMeter(feeds, options)
        # The only place needs no name.
        yield meters if len(meters) > 1 else {"": next(iter(meters.values()))}


def _options(tier: Tier) -> SessionOptions:
    return SessionOptions(threads=tier.threads, providers=tier.providers)


@contextmanager
def agent_meter(
    tier: Tier, feeds: Sequence[Mapping[str, np.ndarray]], ready_s: float = _READY_S
) -> Iterator["AgentMeter"]:
    """A meter on a real tier, which has ``ready_s`` to answer; nothing stays loaded there.

    Raises:
        TierFault: its agent does not answer.
    """
    assert tier.url is not None
    with agent_client(tier, tier.url) as client:
        client.wait_ready(ready_s)
        meter = AgentMeter(client, feeds, _options(tier))
        try:
            yield meter
        finally:
            meter.close()


class AgentMeter:
    """Measures on a tier: its agent gets both models, and requests to them take turns.

    What counts is the time that the agent spent in the session, by its own clock: how far away it
    is does not matter, and what sets fp32 apart from 8 bits is not diluted by the network.
    """

    def __init__(
        self,
        client: AgentClient,
        feeds: Sequence[Mapping[str, np.ndarray]],
        options: SessionOptions,
    ) -> None:
        """Ask the agent behind ``client``, with ``feeds`` (at least one), for such sessions."""
        self._client = client
        self._feeds = feeds
        self._options = options
        self._baseline = ""
        self.instructions = str(client.metadata().get("instructions", ""))

    def close(self) -> None:
        """Unload what was loaded there."""
        if self._baseline:
            with suppress(TierFault):
                self._client.unload(self._baseline)
            self._baseline = ""

    def ratio(self, candidate: bytes, baseline: bytes) -> float:
        """Latency of ``candidate`` in units of ``baseline``'s.

        Not a number where the agent refuses one of them: it is too large there, or its ONNX
        Runtime cannot execute it.

        Raises:
            TierFault: the agent does not answer.
        """
        other = ""
        try:
            if self._baseline != _name(baseline):
                self.close()
                self._baseline = self._load(baseline)
            other = self._load(candidate)
            return side_by_side(
                partial(self._compute_s, other), partial(self._compute_s, self._baseline)
            )
        except TierFault as fault:
            if getattr(fault, "status", None) is None:
                raise
            return math.nan
        finally:
            if other and other != self._baseline:
                with suppress(TierFault):
                    self._client.unload(other)

    def _load(self, model: bytes) -> str:
        name = _name(model)
        with scratch_folder() as folder:
            path = folder / "model.onnx"
            path.write_bytes(model)
            digest = self._client.put_artifact(path)
            threads, providers = self._options.threads, self._options.providers
            stage = StageSpec(name=name, artifact=digest, threads=threads, providers=providers)
            self._client.load(stage, path)
        return name

    def _compute_s(self, name: str, index: int) -> float:
        reply = self._client.infer(name, self._feeds[index % len(self._feeds)])
        if not reply.hops:
            raise TierFault(
                f"The server at {self._client.url} does not say how long it computed.",
                hint="Recipes can be timed on Tierwise's own agents (`tierwise serve`) only.",
                url=self._client.url,
                status=0,
            )
        return reply.hops[0].compute_s


def _name(model: bytes) -> str:
    """A name of its own for every model, so that two studies do not get in each other's way."""
    return f"tierwise-recipe-{sha256(model).hexdigest()[:16]}"
