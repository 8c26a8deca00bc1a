"""What a model's requests took, as Triton's statistics extension reports it."""

import threading
import time
from collections import deque
from typing import Any, Self

from tierwise.serving.timing import Hop

_PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
# Answers that are not added up yet: an agent that nobody asks for its figures keeps no more.
_WAITING = 256


class ModelStatistics:
    """Counts and sums of one model; any number of threads may add.

    An answer waits for its count, so it is only kept; who asks for the figures has them added up.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Hop, int]] = deque()
        self.succeeded = 0
        self.failed = 0
        self.success_s = 0.0
        self.fail_s = 0.0
        self.received_bytes = 0
        self.sums_s = dict.fromkeys(_PARTS, 0.0)
        self.next_s = 0.0
        self.last_ms = 0
        self.unloaded = 0
        self.reloaded = 0

    def add(self, hop: Hop) -> None:
        """Count a request that was answered."""
        self._waiting.append((hop, time.time_ns()))
        if len(self._waiting) >= _WAITING:
            self.settled()

    def settled(self) -> Self:
        """These figures, with every answer until now."""
        with self._lock:
            # Others may add meanwhile; they don't take.
            for _ in range(len(self._waiting)):
                self._settle(*self._waiting.popleft())
        return self

    def _settle(self, hop: Hop, at_ns: int) -> None:
        self.succeeded += 1
        self.success_s += hop.server_s or 0.0
        self.received_bytes += hop.received_bytes
        self.sums_s["queue"] += hop.queue_s
        self.sums_s["compute_input"] += hop.decode_s + hop.preprocess_s
        self.sums_s["compute_infer"] += hop.compute_s
        self.sums_s["compute_output"] += hop.encode_s + hop.postprocess_s
        self.next_s += hop.next_s
        self.last_ms = at_ns // 1_000_000

    def add_failure(self, took_s: float) -> None:
        """Count a request that was refused or failed."""
        with self._lock:
            self.failed += 1
            self.fail_s += took_s

    def to_json(self, name: str, version: str) -> dict[str, Any]:
        """One entry of ``model_stats``."""
        self.settled()
        with self._lock:
            count = self.succeeded
            parts = {part: _duration(count, total) for part, total in self.sums_s.items()}
            return {
                "name": name,
                "version": version,
                "last_inference": self.last_ms,
                "inference_count": count,
                "execution_count": count,
                "inference_stats": {
                    "success": _duration(count, self.success_s),
                    "fail": _duration(self.failed, self.fail_s),
                    **parts,
                    "cache_hit": _duration(0, 0.0),
                    "cache_miss": _duration(0, 0.0),
                },
                "batch_stats": [],
            }


def _duration(count: int, total_s: float) -> dict[str, int]:
    return {"count": count, "ns": round(total_s * 1e9)}
