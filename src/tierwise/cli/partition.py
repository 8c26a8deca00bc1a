"""Cut a model into segments that run on different tiers, with a manifest to chain them."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tierwise.cli.calibration import (
    NO_IMAGE_OPTIONS,
    ImageOptions,
    open_calibration,
    task_of,
)
from tierwise.cli.partition_table import how_good, print_partition, trial_as_json
from tierwise.cli.terminal import terminal
from tierwise.data.source import Dataset
from tierwise.errors import UserError
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut, find_cut
from tierwise.operators.choose_encodings import Crossing, EncodingTrial, choose_encodings
from tierwise.operators.encoding import FP16, Encoding, EncodingCost, Kind
from tierwise.operators.manifest import write_partition
from tierwise.operators.partition import Partition, partition
from tierwise.quality.task import Task
from tierwise.recommend.requirement import Requirement
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import open_session
from tierwise.study.best_partition import best_partition
from tierwise.study.parse import read_study_file
from tierwise.study.subject import open_subject
from tierwise.tiers.topology import NetworkCondition
from tierwise.units import parse_bandwidth_bit_per_s


def command(
    model: Path,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    tiers: int | None = None,
    cut: list[str] | None = None,
    at: str | None = None,
    best: Path | None = None,
    when: str | None = None,
    private: str | None = None,
    encode: Literal["none", "fp16", "zstd", "auto"] = "none",
    bandwidth: list[str] | None = None,
    calibration: Path | None = None,
    images: ImageOptions = NO_IMAGE_OPTIONS,
    task: Task | None = None,
    max_loss: float = 1.0,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Cut a model into segments: segment-0.onnx, segment-1.onnx, ... and manifest.json.

    Chained by tensor names with any ONNX runtime, the segments give the whole model's outputs.
    The manifest lists them in order, with inputs, outputs, shapes, types and hashes, and says how
    each crossing tensor is encoded on the wire.

    Args:
        model: An ONNX file.
        out: Folder to write to. Segments of an earlier partition in it are replaced.
        tiers: How many segments (2); with `--best` the most.
        cut: Where: an id of `tierwise inspect MODEL --cuts`, or tensor names with commas. Once
            for each boundary, in the order of the data.
        at: Instead: the share of the work before each cut, such as 0.5, or 0.3,0.7 for three.
        best: Instead: a study file, on whose tiers and links the model shall be fastest. How
            tensors cross is chosen with the cuts; the model runs in one piece where that is best.
        when: For `--best`: under which of the study's networks, such as edge-cloud=10Mbit.
        private: For `--best`: `raw-input` never leaves the first tier, or nothing that this node
            or tensor had no part in; instead of the study's `private`.
        encode: How floating-point tensors cross: as they are, in half precision, compressed
            without loss, or `auto`: the fastest within the quality budget for `--bandwidth`.
        bandwidth: For `auto`: of the link at each boundary, such as 10Mbit; one for all, or one
            for each.
        calibration: For `auto`: a folder of images, an .npz, or a study file.
        images: For a folder of images.
        task: For `auto`: what the outputs mean. Without it, told from the labels.
        max_loss: For `auto`: points of quality that the encodings may lose.
        seed: For `auto`: draws which inputs fit scales and which judge.
        json: Print the manifest's path and what was tried as JSON on standard output.
    """
    if best is not None:
        given = {"--cut": cut, "--at": at, "--bandwidth": bandwidth, "--calibration": calibration}
        if clash := [flag for flag, value in given.items() if value is not None]:
            raise UserError(
                f"{clash[0]} and --best: cuts, links and data come from the study file.",
                hint=f"Leave out {clash[0]}, or --best.",
            )
        _best(model, best, out, tiers=tiers, when=when, private=private, json=json)
        return
    data = _data(model, calibration, images)
    if encode == "auto" and (data is None or not bandwidth):
        raise UserError(
            "--encode auto needs to know the data and the link.",
            hint="Add --calibration DIR and --bandwidth 10Mbit.",
        )
    graph = prepare(model, None if data is None else data.feeds(0), progress=terminal)
    parts = partition(graph, _cuts(graph, 2 if tiers is None else tiers, cut, at))
    trials: tuple[EncodingTrial, ...] = ()
    if encode == "auto":
        assert data is not None
        assert bandwidth
        choice = choose_encodings(
            parts, data, _crossing(bandwidth, len(parts.boundaries)),
            task=task or task_of(data), max_loss=max_loss, seed=seed, progress=terminal,
        )  # fmt: skip
        parts, trials = choice.partition, choice.trials
        for caveat in choice.caveats:
            terminal.say(f"Note: {caveat.evidence} {caveat.advice}")
    elif encode != "none":
        parts = _encoded(parts, encode)
    path = write_partition(parts, out)
    if json:
        shown = [trial_as_json(one) for one in trials]
        terminal.json({"manifest": str(path), "encodings": shown})
    else:
        print_partition(parts, trials, path)


def _data(model: Path, calibration: Path | None, images: ImageOptions) -> Dataset | None:
    if calibration is None:
        return None
    with open_session(model) as session:
        return open_calibration(calibration, session.inputs, images)


def _best(
    model: Path,
    study_path: Path,
    out: Path,
    *,
    tiers: int | None,
    when: str | None,
    private: str | None,
    json: bool,
) -> None:
    """Segments for the study's tiers, where the model is predicted to be fastest."""
    study = read_study_file(study_path)
    topology = study.topology()
    condition = _condition(study.conditions(), when)
    if tiers is not None and not 1 <= tiers <= len(topology.names):
        raise UserError(
            f"--tiers {tiers}: the study has {len(topology.names)} tiers.",
            hint="Give the most tiers that may run a part, or leave it out.",
        )
    options = study.operators.partition
    if private is not None:
        options = options.model_copy(update={"private": private})
    asked = study.model_copy(update={"model": str(model.absolute())})
    subject = open_subject(asked, study_path.parent, terminal)
    with terminal.task("Placing", None):
        found = best_partition(
            subject.graph, topology, condition, options,
            calibration=subject.calibration, evaluation=subject.evaluation,
            task=study.task, seed=study.measure.seed, most_tiers=tiers,
        )  # fmt: skip
    encodings = [
        {name: Encoding.parse(text) for name, text in crossing} for crossing in found.encodings
    ]
    parts = partition(subject.graph, found.cuts, encodings)
    path = write_partition(parts, out, found.tiers)
    if json:
        terminal.json(
            {
                "manifest": str(path),
                "tiers": list(found.tiers),
                "cuts": [cut.id for cut in found.cuts],
                "encodings": [dict(crossing) for crossing in found.encodings],
                "condition": condition.id,
                "latency_s": found.latency_s,
                "bound_s": found.bound_s,
                "proven_optimal": found.proven_optimal,
                "resolution_s": found.resolution_s,
            }
        )
        return
    print_partition(parts, (), path, found.tiers)
    terminal.out.print(how_good(found, condition))


def _condition(conditions: tuple[NetworkCondition, ...], when: str | None) -> NetworkCondition:
    chosen = Requirement.parse(when=when).choose(conditions)
    if len(chosen) > 1:
        listed = "; or ".join(condition.id for condition in chosen)
        raise UserError(
            f"The study has {len(chosen)} networks, and the best partition depends on which: "
            f"{listed}.",
            hint="Say which: --when LINK=RATE.",
        )
    return chosen[0]


def _cuts(graph: Graph, tiers: int, names: list[str] | None, at: str | None) -> tuple[Cut, ...]:
    if tiers < 2:
        raise UserError(
            f"{tiers} tiers need no partition; at least 2 are required.", hint="Add --tiers 2."
        )
    if (names is None) == (at is None):
        raise UserError(
            "Where to cut must be said once.",
            hint="Give --cut ID (`tierwise inspect MODEL --cuts` lists them), --at 0.5, or "
            "--best study.yaml.",
        )
    specs = names if names is not None else [part.strip() for part in str(at).split(",")]
    if len(specs) != tiers - 1:
        raise UserError(
            f"{tiers} tiers need {tiers - 1} cuts, but {len(specs)} were given.",
            hint="Repeat --cut, or give --at 0.3,0.7; or change --tiers.",
        )
    return tuple(find_cut(graph, spec) for spec in specs)


def _crossing(texts: list[str], boundaries: int) -> list[Crossing]:
    rates: list[float | None] = [
        None if text == "unlimited" else parse_bandwidth_bit_per_s(text) for text in texts
    ]
    every = rates * boundaries if len(rates) == 1 else rates
    return [partial(EncodingCost.crossing_s, bandwidth_bit_per_s=rate) for rate in every]


def _encoded(parts: Partition, encode: Literal["fp16", "zstd"]) -> Partition:
    """The same encoding for every tensor that it is for."""
    packed = Encoding(Kind.NONE, compressed=True)
    return parts.encoded(
        [
            {
                tensor.name: packed if encode == "zstd" else FP16
                for tensor in boundary.cut.tensors
                if encode == "zstd" or tensor.dtype in {"float32", "float64"}
            }
            for boundary in parts.boundaries
        ]
    )
