"""Partition: a graph cut into segments, with the encoding of every tensor that crosses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from tierwise.errors import CutError
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut
from tierwise.graph.segments import split
from tierwise.graph.tensors import TensorInfo
from tierwise.operators.encoding import NONE, Encoding, decode, encode
from tierwise.runtime.session import SessionOptions, open_session


@dataclass(frozen=True)
class Segment:
    """The part of a graph that runs on one tier.

    Attributes:
        model: A model of its own; its inputs and outputs are raw tensors, whatever the encoding.
        inputs: With the shapes of one real input.
        outputs: With the shapes of one real input.
        macs: Multiply-accumulates.
    """

    model: ir.Model
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    macs: int


@dataclass(frozen=True)
class Boundary:
    """What crosses between two segments, and how.

    Attributes:
        cut: The cut.
        encodings: By tensor name; a tensor that is not in it crosses as it is.
    """

    cut: Cut
    encodings: Mapping[str, Encoding] = field(default_factory=dict)

    def encoding(self, name: str) -> Encoding:
        """How the tensor crosses."""
        return self.encodings.get(name, NONE)


@dataclass(frozen=True)
class Partition:
    """Segments in the order of the data, and the boundaries between them.

    Attributes:
        graph: The whole.
        segments: One more than boundaries.
        boundaries: Between neighbours.
    """

    graph: Graph
    segments: tuple[Segment, ...]
    boundaries: tuple[Boundary, ...]

    def encoded(self, encodings: Sequence[Mapping[str, Encoding]]) -> "Partition":
        """The same segments with other encodings, one mapping for each boundary."""
        boundaries = tuple(
            replace(boundary, encodings=dict(chosen))
            for boundary, chosen in zip(self.boundaries, encodings, strict=True)
        )
        return replace(self, boundaries=boundaries)


def partition(
    graph: Graph, cuts: Sequence[Cut], encodings: Sequence[Mapping[str, Encoding]] = ()
) -> Partition:
    """Cut ``graph`` at ``cuts`` into models of their own.

    Chained by tensor names they give the whole model's outputs: bit-equal with graph
    optimisations off and no lossy encoding.

    Args:
        graph: The variant.
        cuts: Of this graph, heads growing.
        encodings: How tensors cross, one mapping for each cut; empty: all as they are.

    Raises:
        CutError: the cuts are not in the order of the data, or an encoding is for a tensor that
            does not cross or is not floating-point.
    """
    models = split(graph, cuts)
    bounds = (graph.inputs, *(cut.tensors for cut in cuts), graph.outputs)
    done = (0, *(cut.head_macs for cut in cuts), graph.macs)
    segments = tuple(
        Segment(model, given, wanted, after - before)
        for model, (given, wanted), (before, after) in zip(
            models, pairwise(bounds), pairwise(done), strict=True
        )
    )
    mappings = encodings or [{} for _ in cuts]
    for cut, chosen in zip(cuts, mappings, strict=True):
        _check_encodings(cut, chosen)
    boundaries = tuple(
        Boundary(cut, dict(chosen)) for cut, chosen in zip(cuts, mappings, strict=True)
    )
    return Partition(graph, segments, boundaries)


def _check_encodings(cut: Cut, encodings: Mapping[str, Encoding]) -> None:
    crossing = {tensor.name: tensor for tensor in cut.tensors}
    for name, encoding in encodings.items():
        if name not in crossing:
            raise CutError(
                f"Tensor '{name}' does not cross cut '{cut.id}'.",
                hint=f"What crosses it: {', '.join(crossing)}.",
                tensor=name,
            )
        if not encoding.lossless and not crossing[name].dtype.startswith("float"):
            raise CutError(
                f"Tensor '{name}' is {crossing[name].dtype}; {encoding} is for floating-point "
                "tensors.",
                hint="Use none, with or without +zstd.",
                tensor=name,
            )


def crossed(
    tensors: Mapping[str, np.ndarray], encodings: Mapping[str, Encoding]
) -> dict[str, np.ndarray]:
    """``tensors`` as they arrive: encoded and decoded where ``encodings`` says how."""
    arrived = dict(tensors)
    for name, encoding in encodings.items():
        tensor = arrived[name]
        arrived[name] = decode(encode(tensor, encoding), encoding, tensor.shape, tensor.dtype)
    return arrived


class Chain:
    """A partition, ready to run in this process, its boundaries encoded and decoded."""

    def __init__(self, parts: Partition, options: SessionOptions | None = None) -> None:
        """Open a session for every segment."""
        self._parts = parts
        self._sessions = [
            open_session(segment.model, options or SessionOptions()) for segment in parts.segments
        ]

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        encodings: Sequence[Mapping[str, Encoding]] | None = None,
    ) -> dict[str, np.ndarray]:
        """The whole model's outputs; ``encodings`` instead of the partition's own, if given."""
        tensors = dict(feeds)
        for index, session in enumerate(self._sessions):
            tensors = session.run(tensors)
            if index < len(self._parts.boundaries):
                boundary = self._parts.boundaries[index]
                tensors = crossed(
                    tensors, boundary.encodings if encodings is None else encodings[index]
                )
        return tensors

    def crossing(self, feeds: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The raw tensors at every boundary."""
        tensors, found = dict(feeds), []
        for session in self._sessions[:-1]:
            tensors = session.run(tensors)
            found.append(tensors)
        return found

    def close(self) -> None:
        """Free the sessions."""
        for session in self._sessions:
            session.close()
