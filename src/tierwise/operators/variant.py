"""A subject after an operator."""

from dataclasses import dataclass

from tierwise.caveats import ResultWarning
from tierwise.graph.analysis import Graph


@dataclass(frozen=True)
class Variant:
    """One ONNX graph that stands for the subject.

    Its inputs and outputs have the names, element types and ranks of the subject's.

    Attributes:
        name: ``"I"``, ``"Q"``, ``"E"``, ``"QE"``, with a suffix for one of a front (``"E-20%"``).
        graph: The transformed graph.
        notes: What was done, in words.
        caveats: What to know before believing its results.
    """

    name: str
    graph: Graph
    notes: tuple[str, ...] = ()
    caveats: tuple[ResultWarning, ...] = ()
