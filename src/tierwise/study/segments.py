"""A strategy's segments as files in the study's store."""

from dataclasses import dataclass
from pathlib import Path

from tierwise.data.postprocess import Postprocess
from tierwise.graph.cuts import find_cut
from tierwise.graph.segments import split
from tierwise.operators.strategy import Strategy
from tierwise.runtime.materialise import model_bytes
from tierwise.store.artefacts import Artefacts
from tierwise.study.variants import StoredVariant


@dataclass(frozen=True)
class Segment:
    """What one tier runs of a strategy.

    Attributes:
        tier: Where.
        sha256: Hash of its ONNX file.
        path: That file.
        size_bytes: Its size.
    """

    tier: str
    sha256: str
    path: Path
    size_bytes: int


def make_segments(
    strategy: Strategy, variant: StoredVariant, artefacts: Artefacts
) -> tuple[Segment, ...]:
    """Split ``variant`` at the strategy's cuts and keep the segments' files.

    Raises:
        CutError: the variant has no such cut.
        DiskFull: no space is left.
    """
    if not strategy.cuts:
        record = variant.record
        return (Segment(strategy.tiers[0], record.sha256, variant.path, record.size_bytes),)
    cuts = [find_cut(variant.graph, cut) for cut in strategy.cuts]
    found = []
    for tier, model in zip(strategy.tiers, split(variant.graph, cuts), strict=True):
        content = model_bytes(model)
        sha256 = artefacts.put(content)
        found.append(Segment(tier, sha256, artefacts.path(sha256), len(content)))
    return tuple(found)


def postprocess_for(task: str) -> Postprocess:
    """What is sent back: a class map instead of scores per pixel, else the model's own output."""
    return Postprocess.ARGMAX if task == "segmentation" else Postprocess.NONE
