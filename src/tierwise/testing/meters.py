"""Latency meters that say what they are told to, whatever this machine makes of a recipe."""


class FixedMeter:
    """Implements :class:`~tierwise.operators.quantize.latency.LatencyMeter`."""

    instructions = "AVX2 and little else"

    def __init__(self, *ratios: float) -> None:
        """Say ``ratios`` of one model after the other, the last one of all further ones."""
        self._left = list(ratios)
        self._told: dict[bytes, float] = {}

    def ratio(self, candidate: bytes, baseline: bytes) -> float:  # noqa: ARG002 - nothing is measured
        """The same for the same model."""
        if candidate not in self._told:
            self._told[candidate] = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        return self._told[candidate]
