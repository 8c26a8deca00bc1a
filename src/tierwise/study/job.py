"""What is to be measured, handed from the plan to the tiers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tierwise.data.source import Dataset
from tierwise.operators.strategy import Strategy
from tierwise.study.file import StudyFile
from tierwise.study.segments import Segment
from tierwise.study.variants import StoredVariant
from tierwise.tiers.topology import NetworkCondition, Topology


@dataclass(frozen=True)
class MeasureJob:
    """What is to be measured.

    Attributes:
        study: The study.
        topology: Its tiers, with their tokens.
        conditions: Its network conditions; their position is their number.
        segments: The files of every strategy that may fit.
        variants: By name.
        data: What timed requests carry.
    """

    study: StudyFile
    topology: Topology
    conditions: Sequence[NetworkCondition]
    segments: Mapping[Strategy, tuple[Segment, ...]]
    variants: Mapping[str, StoredVariant]
    data: Dataset
