"""How fast a candidate is against fp32, on the tier that counts."""

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tierwise.operators.quantize.calibrate import Feeds
from tierwise.runtime.session import Session, SessionOptions, open_session

# heuristic: what disturbs a request only ever makes it slower, so the lower quartile of some ten
# tells what undisturbed ones take; slow models stop at the fewest.
_FEWEST_PAIRS = 9
_MOST_PAIRS = 41
_WARM_UPS = 2
_SECONDS_PER_CANDIDATE = 1.5

# Instructions that decide about 8-bit integers, with the names that Linux gives them.
_INT8_FLAGS = {
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "amx_int8": "AMX",
    "i8mm": "Arm I8MM",
    "asimddp": "Arm dot product",
}
_VECTOR_FLAGS = {"avx512bw": "AVX-512", "avx2": "AVX2", "avx": "AVX", "asimd": "Arm NEON"}


class LatencyMeter(Protocol):
    """Compares latencies where the variant will run."""

    @property
    def instructions(self) -> str:
        """What the place's CPU has for 8-bit integers, in words; ``""`` where it isn't known."""

    def ratio(self, candidate: bytes, baseline: bytes) -> float:
        """Latency of ``candidate`` in units of ``baseline``'s, measured side by side."""


class LocalMeter:
    """Measures in this process: fp32 and candidate in turn, the ratio of their lower quartiles.

    The same input goes to both, and the order within a pair alternates, so a drifting machine
    hurts both alike. With one thread the CPU time of a request is compared, which is its latency
    on a core of its own: other processes do not enter it. With more threads it is the wall clock,
    and what disturbs falls into the upper part, which isn't looked at.
    """

    def __init__(self, feeds: Sequence[Feeds], options: SessionOptions | None = None) -> None:
        """Time sessions of ``options`` on ``feeds`` (at least one)."""
        self._feeds = feeds
        self._options = options or SessionOptions()
        self._baseline: tuple[bytes, Session] | None = None

    @property
    def instructions(self) -> str:
        """This machine's."""
        return cpu_instructions()

    def ratio(self, candidate: bytes, baseline: bytes) -> float:
        """See :class:`LatencyMeter`."""
        if self._baseline is None or self._baseline[0] != baseline:
            self._baseline = (baseline, open_session(baseline, self._options))
        fp32 = self._baseline[1]
        # A session of one thread runs on the thread that calls it.
        clock = time.thread_time if self._options.threads == 1 else time.perf_counter
        seconds: dict[Session, list[float]] = {}
        with open_session(candidate, self._options) as other:
            for index in range(_WARM_UPS):
                feeds = self._feeds[index % len(self._feeds)]
                fp32.run(feeds)
                other.run(feeds)
            begun = time.perf_counter()
            for index in range(_MOST_PAIRS):
                feeds = self._feeds[index % len(self._feeds)]
                for session in (fp32, other) if index % 2 == 0 else (other, fp32):
                    seconds.setdefault(session, []).append(_time(session, feeds, clock))
                late = time.perf_counter() - begun > _SECONDS_PER_CANDIDATE
                if late and index + 1 >= _FEWEST_PAIRS:
                    break
            return float(np.quantile(seconds[other], 0.25) / np.quantile(seconds[fp32], 0.25))


def _time(session: Session, feeds: Feeds, clock: Callable[[], float]) -> float:
    begun = clock()
    session.run(feeds)
    return clock() - begun


def cpu_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What this machine's CPU has for 8-bit integers: ``"AVX2, no VNNI"``.

    Reads the flags that Linux reports; elsewhere only the architecture is known.
    """
    flags: set[str] = set()
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    if not flags:
        return platform.machine()
    integer = [name for flag, name in _INT8_FLAGS.items() if flag in flags]
    vector = next((name for flag, name in _VECTOR_FLAGS.items() if flag in flags), "no vectors")
    if integer:
        return ", ".join([vector, *integer])
    return f"{vector}, no " + ("dot product" if vector.startswith("Arm") else "VNNI")
