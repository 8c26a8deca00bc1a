"""What this machine's CPU has for 8-bit integers."""

import platform
from pathlib import Path

# Instructions that decide about 8-bit integers, with the names that Linux gives them.
_INT8_FLAGS = {
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "amx_int8": "AMX",
    "i8mm": "Arm I8MM",
    "asimddp": "Arm dot product",
}
_VECTOR_FLAGS = {"avx512bw": "AVX-512", "avx2": "AVX2", "avx": "AVX", "asimd": "Arm NEON"}

NO_VNNI = "no VNNI"
"""How :func:`cpu_instructions` ends for an x86 that multiplies 8-bit integers in 16 bits."""


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
    return f"{vector}, " + ("no dot product" if vector.startswith("Arm") else NO_VNNI)
