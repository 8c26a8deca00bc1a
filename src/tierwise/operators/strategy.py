"""Operator and strategy as data: what is done to a model, and where its segments run."""

from dataclasses import dataclass
from enum import Enum


class Operator(Enum):
    """The study's operators and their hybrids; the value is the short name that is printed.

    The order of a hybrid is part of its meaning: exit first, then quantize, then partition.
    """

    I = "I"  # noqa: E741 - the study's letter
    Q = "Q"
    E = "E"
    P = "P"
    QE = "QE"
    QP = "QP"
    EP = "EP"
    QEP = "QEP"

    @property
    def quantizes(self) -> bool:
        """Whether the variant is quantized."""
        return "Q" in self.value

    @property
    def exits(self) -> bool:
        """Whether blocks of the variant are skipped."""
        return "E" in self.value

    @property
    def partitions(self) -> bool:
        """Whether the variant runs on more than one tier."""
        return "P" in self.value

    @property
    def variant(self) -> "Operator":
        """The operator without its partition: which variant the segments come from."""
        return Operator(self.value.replace("P", "") or "I")

    @property
    def title(self) -> str:
        """In words, as the study writes it: ``"Quantize + Early exit"``."""
        words = {"I": "Identity", "Q": "Quantize", "E": "Early exit", "P": "Partition"}
        return " + ".join(words[letter] for letter in self.value)


@dataclass(frozen=True)
class Strategy:
    """A variant, its cuts, and the tier of every segment.

    Attributes:
        operator: What is done to the model.
        variant: Name of the variant (one of a study's variants; usually ``operator.variant.value``,
            with a suffix where there is a front of several, as in ``"E-20%"``).
        tiers: The tier of every segment, in the order of the data; one more than ``cuts``.
        cuts: Ids of the cuts, as ``tierwise inspect --cuts`` lists them for the variant.
    """

    operator: Operator
    variant: str
    tiers: tuple[str, ...]
    cuts: tuple[str, ...] = ()

    @property
    def placement(self) -> str:
        """``"edge"`` or ``"mobile-edge"``."""
        return "-".join(self.tiers)

    @property
    def id(self) -> str:
        """``"edge/QE"`` or ``"mobile-edge/QEP@layer3.16"`` (``E-20%``: one of a front)."""
        suffix = self.variant.removeprefix(self.operator.variant.value)
        cuts = "".join(f"@{cut}" for cut in self.cuts)
        return f"{self.placement}/{self.operator.value}{suffix}{cuts}"

    def __str__(self) -> str:
        return self.id
