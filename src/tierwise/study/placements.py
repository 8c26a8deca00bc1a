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
        tiers: The tier of every segment, nearest to the user first.
    """

    operator: Operator
    tiers: tuple[str, ...]

    @property
    def id(self) -> str:
        """``"mobile-edge/QP"``."""
        return f"{'-'.join(self.tiers)}/{self.operator.value}"


def placements(
    operators: Sequence[Operator], topology: Topology, most_tiers: int = 2
) -> tuple[Placement, ...]:
    """Every operator without P on every tier, every operator with P on every pair of tiers.

    With ``most_tiers`` of 3 also on every chain of three. The head is on the tier nearest to the
    user; with one tier there is nothing to partition.
    """
    return tuple(
        Placement(operator, tiers)
        for operator in operators
        for count in (range(2, most_tiers + 1) if operator.partitions else [1])
        for tiers in combinations(topology.names, count)
    )
