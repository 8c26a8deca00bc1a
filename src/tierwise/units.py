"""Quantities: the only place where units are parsed, converted and printed.

Inside Tierwise a quantity is a plain number in its base unit and says so in its name
(``latency_s``, ``wire_bytes``, ``bandwidth_bit_per_s``). Text appears at the edge only.
"""

import re

from tierwise.errors import UserError

_NUMBER_AND_UNIT = re.compile(
    r"^\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z/%µ]*)\s*$", re.IGNORECASE
)

# Decimal, as link rates are sold and as `tc` reads them.
_BIT_PER_S = {
    "bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9,
    "bit/s": 1.0, "kbit/s": 1e3, "mbit/s": 1e6, "gbit/s": 1e9,
    "bps": 1.0, "kbps": 1e3, "mbps": 1e6, "gbps": 1e9,
}  # fmt: skip
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip


def _parse(
    text: str | float, units: dict[str, float] | dict[str, int], what: str, example: str
) -> float:
    match = _NUMBER_AND_UNIT.match(str(text))
    scale = units.get(match.group(2).lower()) if match else None
    if match is None or scale is None:
        raise UserError(
            f"{text!r} is not a {what}.",
            hint=f"Write a number with a unit, such as {example}.",
            value=text,
        )
    return float(match.group(1)) * scale


def parse_bandwidth_bit_per_s(text: str) -> float:
    """Bits per second of ``"200Mbit"``; raises :class:`UserError` on anything else."""
    rate = _parse(text, _BIT_PER_S, "bandwidth", "10Mbit or 1Gbit")
    if rate <= 0:
        raise UserError(
            f"A bandwidth of {text!r} lets nothing through.", hint="Write at least 1kbit."
        )
    return rate


def parse_duration_s(text: str) -> float:
    """Seconds of ``"5ms"``; raises :class:`UserError` on anything else."""
    return _parse(text, _SECONDS, "duration", "5ms or 1.5s")


def parse_size_bytes(text: str) -> int:
    """Bytes of ``"512MiB"``; raises :class:`UserError` on anything else."""
    return int(_parse(text, _BYTES, "size", "512MiB or 2GiB"))


def format_bandwidth(bit_per_s: float) -> str:
    """``10000000.0`` as ``"10 Mbit/s"``."""
    for unit, scale in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bit_per_s >= scale:
            return f"{bit_per_s / scale:.4g} {unit}"
    return f"{bit_per_s:.4g} bit/s"


def format_duration(seconds: float) -> str:
    """``0.0123`` as ``"12.3 ms"``, ``75`` as ``"1 min 15 s"``."""
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if seconds >= 1:
        return f"{seconds:.3g} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} µs"


def format_bytes(size_bytes: float) -> str:
    """``1536`` as ``"1.5 KiB"``."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.4g} {unit}"
    return f"{size_bytes:.0f} B"
