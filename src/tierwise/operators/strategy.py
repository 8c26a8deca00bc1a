"""Operator and strategy as data: what is done to a model, and where its segments run."""

import re
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from tierwise.operators.encoding import Encoding

# What may stand in a URL and in a file name; the end of a long name tells most.
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_CUT_LENGTH = 48


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
        cuts: Ids of the cuts, as ``tierwise inspect --cuts`` lists them for the variant; where
            one is not on the list, the names of its tensors, joined by commas.
        encodings: For each cut, how its tensors cross: pairs of a name and the text of an
            :class:`~tierwise.operators.encoding.Encoding`. Tensors that are not named cross as
            they are; empty: all do.
    """

    operator: Operator
    variant: str
    tiers: tuple[str, ...]
    cuts: tuple[str, ...] = ()
    encodings: tuple[tuple[tuple[str, str], ...], ...] = ()

    @property
    def placement(self) -> str:
        """``"edge"`` or ``"mobile-edge"``."""
        return "-".join(self.tiers)

    @cached_property
    def id(self) -> str:
        """``"edge/QE"`` or ``"mobile-edge/QEP@layer3.16"`` (``E-20%``: one of a front).

        Encodings are not part of it: a study has one choice of them for each placement and cut,
        and their scales would make the name as long as it is unstable.
        """
        suffix = self.variant.removeprefix(self.operator.variant.value)
        cuts = "".join(f"@{_safe(cut)}" for cut in self.cuts)
        return f"{self.placement}/{self.operator.value}{suffix}{cuts}"

    def encodings_at(self, position: int) -> dict[str, Encoding]:
        """How tensors leave the segment at ``position``, by name; those not in it as they are."""
        if position >= len(self.encodings):
            return {}
        return {name: Encoding.parse(text) for name, text in self.encodings[position]}

    @property
    def encoding(self) -> str:
        """For people: ``"int8+zstd"``, without scales; ``""`` where all cross as they are."""
        names = dict.fromkeys(
            encoding.name
            for position in range(len(self.encodings))
            for encoding in self.encodings_at(position).values()
        )
        return ", ".join(names)

    @property
    def lossy(self) -> bool:
        """Whether an encoding changes values, so that its variant's quality is not its own."""
        return any(
            not encoding.lossless
            for position in range(len(self.encodings))
            for encoding in self.encodings_at(position).values()
        )

    def __str__(self) -> str:
        return self.id


def _safe(cut: str) -> str:
    return _UNSAFE.sub(".", cut)[-_CUT_LENGTH:].strip(".-_") or "cut"
