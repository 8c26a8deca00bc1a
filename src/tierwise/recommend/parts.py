"""Groups the parts of a request's time for people to look at."""

from collections.abc import Mapping, Sequence
from enum import Enum

# heuristic: a bar is full at this many times the fastest, so that a slow link does not flatten all.
_FULL_BAR = 5.0


class PartGroup(Enum):
    """What a request's time was spent on."""

    COMPUTE = "compute"
    TRANSFER = "transfer"
    PROCESSING = "pre- and post-processing"
    SERVING = "serving"

    @classmethod
    def of(cls, part: str) -> "PartGroup":
        """The group of a part such as ``"compute@edge"``; codec, queue and client are serving."""
        return _GROUPS.get(part.partition("@")[0], cls.SERVING)


_GROUPS = {
    "compute": PartGroup.COMPUTE,
    "transfer": PartGroup.TRANSFER,
    "preprocess": PartGroup.PROCESSING,
    "postprocess": PartGroup.PROCESSING,
}


def by_group(breakdown_s: Mapping[str, float]) -> dict[PartGroup, float]:
    """Seconds of every group, in the order of :class:`PartGroup`."""
    grouped = dict.fromkeys(PartGroup, 0.0)
    for part, seconds in breakdown_s.items():
        grouped[PartGroup.of(part)] += seconds
    return grouped


def full_bar_s(latencies_s: Sequence[float]) -> float:
    """Seconds at which a bar of a breakdown is full, for strategies as fast as these."""
    return min(max(latencies_s), _FULL_BAR * min(latencies_s)) if latencies_s else 1.0
