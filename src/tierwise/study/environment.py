"""The machine and the versions that a study's numbers belong to."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from tierwise.measure.machine import EnergyMeter
from tierwise.tiers.topology import CPU_ONLY, Topology

# What decides how fast 8-bit and 32-bit kernels are; in the order in which they came.
_INSTRUCTION_SETS = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8",
    "asimd", "asimddp", "i8mm", "sve",
)  # fmt: skip


def describe_environment(topology: Topology, record: Mapping[str, str]) -> dict[str, str]:
    """Label to value; ``record`` is what the running topology says of its back ends."""
    model, flags = _cpu()
    found = {
        "CPU": model,
        "CPU cores": str(os.cpu_count() or 1),
        "instruction sets": " ".join(name for name in _INSTRUCTION_SETS if name in flags),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        **{package: version(package) for package in ("tierwise", "onnxruntime", "numpy")},
    }
    found["energy"] = EnergyMeter().source
    real = [tier.name for tier in topology.tiers if not tier.emulated]
    if real:
        names = found["real tiers"] = ", ".join(real)
        found["profiles"] = (
            "strategies on their tiers; 8-bit recipes here for emulated tiers, by the agents of "
            f"{names}; nodes and encodings, which rank cuts and exits, on a core here also for "
            f"{names}"
        )
    chosen = {t.name: t.providers for t in topology.tiers if t.providers != CPU_ONLY}
    found |= {f"providers@{name}": ", ".join(providers) for name, providers in chosen.items()}
    return {label: value for label, value in {**found, **record}.items() if value}


def _cpu() -> tuple[str, frozenset[str]]:
    """Name and instruction sets, where the kernel tells them."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    facts = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    flags = facts.get("flags", facts.get("Features", ""))
    return facts.get("model name", platform.processor() or "unknown"), frozenset(flags.split())
