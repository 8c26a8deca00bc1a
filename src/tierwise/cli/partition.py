"""Cut a model into segments that run on different tiers, with a manifest to chain them."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tierwise.cli.calibration import NO_IMAGE_OPTIONS, ImageOptions, open_calibration, task_of
from tierwise.cli.partition_options import Cutting, ForStudy, Wire
from tierwise.cli.partition_table import how_good, print_partition, trial_as_json
from tierwise.cli.terminal import terminal
from tierwise.data.source import Dataset
from tierwise.errors import UserError
from tierwise.operators.choose_encodings import EncodingTrial, choose_encodings
from tierwise.operators.encoding import Encoding
from tierwise.operators.manifest import write_partition
from tierwise.operators.partition import partition
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import open_session
from tierwise.study.best_partition import best_partition
from tierwise.study.parse import read_study_file
from tierwise.study.subject import open_subject


def command(
    model: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    cutting: Cutting | None = None,
    study: ForStudy | None = None,
    wire: Wire | None = None,
    images: ImageOptions = NO_IMAGE_OPTIONS,
    json: bool = False,
) -> None:
    """Cut a model into segments: segment-0.onnx, segment-1.onnx, ... and manifest.json.

    Chained by tensor names with any ONNX runtime, the segments give the whole model's outputs.
    The manifest lists them in order, with inputs, outputs, shapes, types and hashes, and says how
    each crossing tensor is encoded on the wire.

    Examples: `tierwise partition model.onnx --at 0.5 -o parts`,
    `tierwise partition model.onnx --best study.yaml --when edge-cloud=10Mbit -o parts`.

    Args:
        model: An ONNX file.
        out: Folder to write to. Segments of an earlier partition in it are replaced.
        cutting: Where the model is cut.
        study: A study whose tiers and links it is cut for.
        wire: How tensors cross.
        images: For a folder of images.
        json: Print the manifest's path and what was tried as JSON on standard output.
    """
    cutting, study, wire = cutting or Cutting(), study or ForStudy(), wire or Wire()
    if study.best is None:
        _as_told(model, cutting, wire, images, out, json=json)
    else:
        study.check(cutting, wire)
        _best(model, study.best, study, out, tiers=cutting.tiers, json=json)


def _as_told(
    model: Path, cutting: Cutting, wire: Wire, images: ImageOptions, out: Path, *, json: bool
) -> None:
    """Segments between the cuts that were named."""
    wire.check()
    data = _data(model, wire.calibration, images)
    graph = prepare(model, None if data is None else data.feeds(0), progress=terminal)
    parts = partition(graph, cutting.cuts(graph))
    trials: tuple[EncodingTrial, ...] = ()
    if wire.encode == "auto" and data is not None:
        choice = choose_encodings(
            parts, data, wire.crossing(len(parts.boundaries)), task=wire.task or task_of(data),
            max_loss=wire.max_loss, seed=wire.seed, progress=terminal,
        )  # fmt: skip
        parts, trials = choice.partition, choice.trials
        for caveat in choice.caveats:
            terminal.say(f"Note: {caveat.evidence} {caveat.advice}")
    else:
        parts = wire.encoded(parts)
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
    model: Path, study_path: Path, asked: ForStudy, out: Path, *, tiers: int | None, json: bool
) -> None:
    """Segments for the study's tiers, where the model is predicted to be fastest."""
    study = read_study_file(study_path)
    topology = study.topology(study_path.parent)
    condition = asked.condition(study.conditions())
    if tiers is not None and not 1 <= tiers <= len(topology.names):
        raise UserError(
            f"--tiers {tiers}: the study has {len(topology.names)} tiers.",
            hint="Give the most tiers that may run a part, or leave it out.",
        )
    options = study.operators.partition
    if asked.private is not None:
        options = options.model_copy(update={"private": asked.private})
    other = study.model_copy(update={"model": str(model.absolute())})
    subject = open_subject(other, study_path.parent, terminal)
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
    if not json:
        print_partition(parts, (), path, found.tiers)
        terminal.out.print(how_good(found, condition))
        return
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
