"""What a strategy takes besides time: its start, memory, bytes and energy, in words."""

from collections.abc import Mapping

import numpy as np

from tierwise.store.results import StudyResults, TrialResult
from tierwise.units import format_bytes, format_duration

_UNKNOWN = "not measured"


def energy_of(trial: TrialResult) -> float | None:
    """Median joules of a request; ``None`` where the machine does not tell."""
    return float(np.median(trial.energy_j)) if trial.energy_j.size else None


def cold_start_text(trial: TrialResult) -> str:
    """``"412 ms (load mobile 301 ms, cloud 80 ms; first request 31 ms, second 22 ms)"``."""
    cold = trial.cold_start
    if cold is None:
        return _UNKNOWN
    # Loaded last tier first; told in the order of the data.
    loads = ", ".join(
        f"{tier} {format_duration(cold.tier_s(tier)[0])}" for tier in reversed(list(cold.load_s))
    )
    return (
        f"{format_duration(cold.total_s)} (load {loads}; first request "
        f"{format_duration(cold.first_s)}, second {format_duration(cold.second_s)})"
    )


def memory_text(trial: TrialResult) -> str:
    """``"mobile 84 MiB, cloud 91 MiB"``."""
    return _sizes(trial.memory_bytes) or _UNKNOWN


def wire_text(trial: TrialResult) -> str:
    """``"mobile-edge 2.3 KiB"``; says so where nothing crosses a link."""
    return _sizes(trial.wire_bytes) or ("none" if trial.latency_s.size else _UNKNOWN)


def energy_text(results: StudyResults, trial: TrialResult) -> str:
    """``"0.31 J"``, or why there is no figure."""
    energy_j = energy_of(trial)
    if energy_j is not None:
        return f"{energy_j:.3g} J (whole machine)"
    said = results.environment.get("energy", _UNKNOWN)
    return said if said.startswith("not ") else _UNKNOWN


def _sizes(by_name: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {format_bytes(size)}" for name, size in by_name.items())
