"""What `tierwise partition` takes: where to cut, how tensors cross, and the study to cut for."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from tierwise.errors import UserError
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut, find_cut
from tierwise.operators.choose_encodings import Crossing
from tierwise.operators.encoding import FP16, Encoding, EncodingCost, Kind
from tierwise.operators.partition import Partition
from tierwise.quality.task import Task
from tierwise.recommend.requirement import Requirement
from tierwise.tiers.topology import NetworkCondition
from tierwise.units import parse_bandwidth_bit_per_s


@Parameter(name="*")
@dataclass(frozen=True)
class Cutting:
    """Where the model is cut.

    Attributes:
        tiers: How many segments (2); with `--best` the most.
        cut: Where: an id of `tierwise inspect MODEL --cuts`, or tensor names with commas. Once
            for each boundary, in the order of the data.
        at: Instead: the share of the work before each cut, such as 0.5, or 0.3,0.7 for three.
    """

    tiers: int | None = None
    cut: list[str] | None = None
    at: str | None = None

    def cuts(self, graph: Graph) -> tuple[Cut, ...]:
        """The cuts of ``graph``; raises :class:`UserError` where they are not said once each."""
        tiers = 2 if self.tiers is None else self.tiers
        if tiers < 2:
            raise UserError(
                f"{tiers} tiers need no partition; at least 2 are required.",
                hint="Add --tiers 2.",
            )
        if (self.cut is None) == (self.at is None):
            raise UserError(
                "Where to cut must be said once.",
                hint="Give --cut ID (`tierwise inspect MODEL --cuts` lists them), --at 0.5, or "
                "--best study.yaml.",
            )
        specs = self.cut if self.cut is not None else [p.strip() for p in str(self.at).split(",")]
        if len(specs) != tiers - 1:
            raise UserError(
                f"{tiers} tiers need {tiers - 1} cuts, but {len(specs)} were given.",
                hint="Repeat --cut, or give --at 0.3,0.7; or change --tiers.",
            )
        return tuple(find_cut(graph, spec) for spec in specs)


@Parameter(name="*")
@dataclass(frozen=True)
class Wire:
    """How tensors cross between the segments.

    Attributes:
        encode: How floating-point tensors cross: as they are, in half precision, compressed
            without loss, or `auto`: the fastest within the quality budget for `--bandwidth`.
        bandwidth: For `auto`: of the link at each boundary, such as 10Mbit; one for all, or one
            for each.
        calibration: For `auto`: a folder of images, an .npz, or a study file.
        task: For `auto`: what the outputs mean. Without it, told from the labels.
        max_loss: For `auto`: points of quality that the encodings may lose.
        seed: For `auto`: draws which inputs fit scales and which judge.
    """

    encode: Literal["none", "fp16", "zstd", "auto"] = "none"
    bandwidth: list[str] | None = None
    calibration: Path | None = None
    task: Task | None = None
    max_loss: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Raise :class:`UserError` where `auto` is not told what it needs."""
        if self.encode == "auto" and (self.calibration is None or not self.bandwidth):
            raise UserError(
                "--encode auto needs to know the data and the link.",
                hint="Add --calibration DIR and --bandwidth 10Mbit.",
            )

    def crossing(self, boundaries: int) -> list[Crossing]:
        """For each boundary, the seconds that crossing its link takes."""
        rates: list[float | None] = [
            None if text == "unlimited" else parse_bandwidth_bit_per_s(text)
            for text in self.bandwidth or ()
        ]
        every = rates * boundaries if len(rates) == 1 else rates
        return [partial(EncodingCost.crossing_s, bandwidth_bit_per_s=rate) for rate in every]

    def encoded(self, parts: Partition) -> Partition:
        """The encoding that is named, for every tensor that it is for."""
        if self.encode == "none":
            return parts
        packed = Encoding(Kind.NONE, compressed=True)
        return parts.encoded(
            [
                {
                    tensor.name: packed if self.encode == "zstd" else FP16
                    for tensor in boundary.cut.tensors
                    if self.encode == "zstd" or tensor.dtype in {"float32", "float64"}
                }
                for boundary in parts.boundaries
            ]
        )


@Parameter(name="*")
@dataclass(frozen=True)
class ForStudy:
    """A study whose tiers and links the model is cut for.

    Attributes:
        best: Instead: a study file, on whose tiers and links the model shall be fastest. How
            tensors cross is chosen with the cuts; the model runs in one piece where that is best.
        when: For `--best`: under which of the study's networks, such as edge-cloud=10Mbit.
        private: For `--best`: `raw-input` never leaves the first tier, or nothing that this node
            or tensor had no part in; instead of the study's `private`.
    """

    best: Path | None = None
    when: str | None = None
    private: str | None = None

    def check(self, cutting: Cutting, wire: Wire) -> None:
        """Raise :class:`UserError` where something is given that the study file says."""
        given = {
            "--cut": cutting.cut,
            "--at": cutting.at,
            "--bandwidth": wire.bandwidth,
            "--calibration": wire.calibration,
        }
        if clash := [flag for flag, value in given.items() if value is not None]:
            raise UserError(
                f"{clash[0]} and --best: cuts, links and data come from the study file.",
                hint=f"Leave out {clash[0]}, or --best.",
            )

    def condition(self, conditions: tuple[NetworkCondition, ...]) -> NetworkCondition:
        """The network that is asked about; raises :class:`UserError` where there are several."""
        chosen = Requirement.parse(when=self.when).choose(conditions)
        if len(chosen) > 1:
            listed = "; or ".join(condition.id for condition in chosen)
            raise UserError(
                f"The study has {len(chosen)} networks, and the best partition depends on which: "
                f"{listed}.",
                hint="Say which: --when LINK=RATE.",
            )
        return chosen[0]
