"""Which operator runs where: the study's grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tierwise.operators.strategy import Operator
from tierwise.tiers.topology import Topology


@dataclass(frozen=True)
class Placement:
    """An operator and the tiers of its segments; its cuts are chosen later.

    Attributes:
        operator: What is done to the model.
        tiers: One tier, or the head's and the tail's.
    """

    operator: Operator
    tiers: tuple[str, ...]

    @property
    def id(self) -> str:
        """``"mobile-edge/QP"``."""
        return f"{'-'.join(self.tiers)}/{self.operator.value}"


def placements(operators: Sequence[Operator], topology: Topology) -> tuple[Placement, ...]:
    """Every operator without P on every tier, every operator with P on every pair of tiers.

    A pair's head is the tier nearer to the user; with one tier there is nothing to partition.
    """
    return tuple(
        Placement(operator, tiers)
        for operator in operators
        for tiers in combinations(topology.names, 2 if operator.partitions else 1)
    )
