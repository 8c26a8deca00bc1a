"""What an agent tells Prometheus. Computed when asked: a request pays nothing for it."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from tierwise.serving.artifact_room import ArtifactRoom
from tierwise.serving.repository import ServedModel

Figures = Mapping[str, tuple[str, Callable[[], float]]]
"""Name to help text and what tells the value."""


class AgentCollector(Collector):
    """Counters of every loaded model, and gauges of the agent.

    A model's counters start again at zero when it is loaded again, as Prometheus expects of a
    restarted process.
    """

    def __init__(
        self,
        tier: str,
        models: Callable[[], Mapping[str, ServedModel]],
        gauges: Figures,
        counters: Figures,
    ) -> None:
        """Read ``models``, ``gauges`` and ``counters`` at every scrape."""
        self._tier = tier
        self._models = models
        self._gauges = gauges
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """All metrics, now."""
        labels = ["tier", "model"]
        requests = CounterMetricFamily(
            "tierwise_requests", "Inference requests answered.", labels=[*labels, "outcome"]
        )
        seconds = CounterMetricFamily(
            "tierwise_request_seconds", "Seconds spent on requests, by part.",
            labels=[*labels, "part"],
        )  # fmt: skip
        received = CounterMetricFamily(
            "tierwise_received_bytes", "Bytes of answered requests.", labels=labels
        )
        sessions = CounterMetricFamily(
            "tierwise_session_changes",
            "Idle sessions closed because memory was short, and opened again when asked for.",
            labels=[*labels, "change"],
        )
        for name, model in self._models().items():
            statistics = model.statistics.settled()
            where = [self._tier, name]
            requests.add_metric([*where, "success"], statistics.succeeded)
            requests.add_metric([*where, "failure"], statistics.failed)
            for part, total_s in statistics.sums_s.items():
                seconds.add_metric([*where, part], total_s)
            seconds.add_metric([*where, "next_hop"], statistics.next_s)
            received.add_metric(where, statistics.received_bytes)
            sessions.add_metric([*where, "closed"], statistics.unloaded)
            sessions.add_metric([*where, "reopened"], statistics.reloaded)
        yield from (requests, seconds, received, sessions)
        for name, (text, value) in self._gauges.items():
            gauge = GaugeMetricFamily(f"tierwise_{name}", text, labels=["tier"])
            gauge.add_metric([self._tier], value())
            yield gauge
        for name, (text, value) in self._counters.items():
            counter = CounterMetricFamily(f"tierwise_{name}", text, labels=["tier"])
            counter.add_metric([self._tier], value())
            yield counter


def room_gauges(room: ArtifactRoom) -> Figures:
    """What the folder of artefacts holds, and may hold."""
    return {
        "cache_bytes": (
            "Bytes of model files in the cache, those under way included.",
            lambda: room.held_bytes,
        ),
        "cache_limit_bytes": ("What the cache may hold.", lambda: room.limit_bytes),
    }


def room_counters(room: ArtifactRoom) -> Figures:
    """What left the folder of artefacts."""
    return {
        "cache_removed_files": (
            "Model files removed from the cache to make room.",
            lambda: room.removed,
        ),
        "cache_removed_bytes": ("Bytes of those.", lambda: room.removed_bytes),
    }


class Metrics:
    """One agent's registry: several agents in one process don't share counters."""

    def __init__(self, collector: AgentCollector) -> None:
        """Register ``collector`` and the process's own figures (memory, descriptors, CPU)."""
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)
