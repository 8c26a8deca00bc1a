"""A study's strategies on running tiers: segments pushed, requests sent, bytes accounted for."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import pairwise

from tierwise.data.source import Dataset, Payload
from tierwise.errors import TierFault
from tierwise.measure.sample import Timing
from tierwise.operators.strategy import Strategy
from tierwise.serving.client import AgentClient, Reply
from tierwise.serving.stage import NextHop, StageSpec
from tierwise.serving.timing import parts
from tierwise.serving.tls import hop_files
from tierwise.study.real_tiers import agent_client
from tierwise.study.segments import Segment, postprocess_for
from tierwise.tiers.running import RunningTopology
from tierwise.tiers.topology import Topology

# heuristic: an agent with a small share of a core needs seconds to import ONNX Runtime; one that
# has not answered after a minute will not.
_READY_S = 60.0
# heuristic: an agent that computes answers others at once; one that was stopped never does.
_SILENT_S = 10.0


class Deployment:
    """Strategies on the agents of a running topology.

    Every strategy is a stage of the same name on each of its tiers; the head's tier calls the
    tail's. Requests start at the topology's first tier.
    """

    def __init__(self, running: RunningTopology, dataset: Dataset, task: str) -> None:
        """Talk to the agents of ``running``; nothing is deployed yet."""
        self.running = running
        self.topology: Topology = running.topology
        self._dataset = dataset
        self._postprocess = postprocess_for(task)
        self._start = self.topology.names[0]
        self._clients: dict[str, AgentClient] = {}
        self._segments: dict[Strategy, tuple[Segment, ...]] = {}

    def close(self) -> None:
        """Close the connections; the stages stay loaded."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def client(self, tier: str) -> AgentClient:
        """The connection from the user's device to ``tier``'s agent, waited for once."""
        if tier not in self._clients:
            client = agent_client(
                self.topology.tier(tier),
                self.running.url(self._start, tier),
                partial(self.running.dial, self._start),
            )
            client.wait_ready(_READY_S)
            self._clients[tier] = client
        return self._clients[tier]

    def load(self, strategy: Strategy, segments: Iterable[Segment]) -> None:
        """Push the strategy's segments and load its stages, the last one first.

        Raises:
            TierFault: an agent does not answer or refuses.
        """
        self._segments[strategy] = tuple(segments)
        self._load_on(strategy, self.topology.names)

    def _load_on(self, strategy: Strategy, tiers: Iterable[str]) -> None:
        segments = self._segments[strategy]
        wanted = set(tiers)
        for position in range(len(segments) - 1, -1, -1):
            segment = segments[position]
            if segment.tier not in wanted:
                continue
            client = self.client(segment.tier)
            client.put_artifact(segment.path)
            client.load(self._stage(strategy, segments, position), segment.path)

    def load_again(self, strategy: Strategy) -> None:
        """:meth:`load` with the segments that the strategy had; raises :class:`TierFault`."""
        self._load_on(strategy, self.topology.names)

    def unload(self, strategy: Strategy) -> None:
        """Close the strategy's sessions on every tier, the first one first; files stay there.

        Raises:
            TierFault: an agent does not answer or refuses.
        """
        for segment in self._segments[strategy]:
            self.client(segment.tier).unload(stage_name(strategy))

    def loads(self, strategy: Strategy) -> dict[str, Callable[[], None]]:
        """What opens the strategy's sessions again, by tier, the last one first."""
        segments = self._segments[strategy]
        return {
            segments[position].tier: partial(
                self.client(segments[position].tier).load,
                self._stage(strategy, segments, position),
                segments[position].path,
            )
            for position in range(len(segments) - 1, -1, -1)
        }

    def _stage(self, strategy: Strategy, segments: tuple[Segment, ...], position: int) -> StageSpec:
        segment, last = segments[position], position == len(segments) - 1
        preprocess = self._dataset.preprocess if position == 0 else None
        following = None
        if not last:
            target = segments[position + 1].tier
            following = NextHop(
                url=self.running.url(segment.tier, target),
                model=stage_name(strategy),
                tier=target,
                token=self.topology.tier(target).token,
                # A private key stays on this machine: a real tier shows its own certificate.
                tls=hop_files(
                    self.topology.tier(target).tls,
                    with_key=self.topology.tier(segment.tier).emulated,
                ),
            )
        return StageSpec(
            name=stage_name(strategy),
            artifact=segment.sha256,
            preprocess=None if preprocess is None else preprocess.model_dump(mode="json"),
            postprocess=self._postprocess.value if last else "none",
            encodings={name: str(one) for name, one in strategy.encodings_at(position).items()},
            next=following,
            threads=self.topology.tier(segment.tier).threads,
            providers=self.topology.tier(segment.tier).providers,
        )

    @property
    def loaded(self) -> tuple[Strategy, ...]:
        """The strategies whose stages are loaded."""
        return tuple(self._segments)

    def forget(self, strategy: Strategy) -> None:
        """Do not load ``strategy`` again when a tier comes back."""
        self._segments.pop(strategy, None)

    def forget_all(self) -> None:
        """Load nothing again, and start every tier that holds something anew, empty."""
        tiers = {tier for strategy in self._segments for tier in strategy.tiers}
        self._segments.clear()
        for tier in self.topology.names:
            if tier in tiers and self.topology.tier(tier).emulated:
                self._restart(tier)

    def infer(self, strategy: Strategy, payload: Payload) -> Reply:
        """Send one request from the user's device.

        Raises:
            TierFault: a tier on the way did not answer.
        """
        return self.client(strategy.tiers[0]).infer(stage_name(strategy), payload)

    def send(self, strategy: Strategy, payload: Payload) -> Timing:
        """Send one request and account for its time and bytes.

        Raises:
            TierFault: a tier on the way did not answer.
        """
        reply = self.infer(strategy, payload)
        return Timing(
            latency_s=reply.total_s,
            parts_s=parts(reply, self.topology.names),
            wire_bytes=self._wire_bytes(strategy, reply),
        )

    def _wire_bytes(self, strategy: Strategy, reply: Reply) -> Mapping[str, int]:
        """Bytes over each link: of the requests from hop to hop, and of the answer on its way back.

        Every tier passes the answer on as it came, but for its own account of the time.
        """
        way = (self._start, *strategy.tiers)
        sent = (reply.sent_bytes, *(hop.sent_bytes for hop in reply.hops))
        found: dict[str, int] = {}
        for (source, target), size_bytes in zip(pairwise(way), sent, strict=False):
            for link in self.topology.path(source, target):
                both_ways = size_bytes + reply.received_bytes
                found[link.name] = found.get(link.name, 0) + both_ways
        return found

    def revive(self) -> bool:
        """Start tiers that are dead or silent again with all their stages; whether any were."""
        dead = [name for name in self.topology.names if not self._lives(name)]
        for tier in dead:
            self._restart(tier)
        for strategy in self._segments if dead else ():
            self._load_on(strategy, dead)
        return bool(dead)

    def _lives(self, tier: str) -> bool:
        """Whether the tier's agent runs, and answers where that can be asked without a link."""
        if not self.running.alive(tier):
            return False
        if not self.topology.tier(tier).emulated:
            return True
        url, dial = self.running.url(tier, tier), partial(self.running.dial, tier)
        with agent_client(self.topology.tier(tier), url, dial) as beside:
            try:
                beside.wait_ready(_SILENT_S)
            except TierFault:
                return False
        return True

    def _restart(self, tier: str) -> None:
        client = self._clients.pop(tier, None)
        if client is not None:
            client.close()
        self.running.restart(tier)


def stage_name(strategy: Strategy) -> str:
    """The strategy's id as a model name in URLs."""
    return strategy.id.replace("/", "~")
