"""A subject opened for a study: its graph, its inputs, and which of them may be used for what."""

from dataclasses import dataclass
from pathlib import Path

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.data.source import Dataset, open_dataset
from tierwise.data.spec import DataSpec
from tierwise.data.split import split_indices
from tierwise.errors import ModelError
from tierwise.graph.analysis import Graph
from tierwise.graph.load import load_model
from tierwise.progress import SILENT, Progress
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import Port, open_session
from tierwise.study.file import StudyFile

# heuristic: below this many inputs one wrong answer is worth more than two points.
_FEW_INPUTS = 50


@dataclass(frozen=True)
class Subject:
    """A black-box model with its data.

    Attributes:
        path: The model's file.
        graph: Simplified, with concrete shapes.
        calibration: Inputs that operators may look at.
        evaluation: Inputs that quality and latency are measured on; never the same ones.
        caveats: What to know before believing results.
    """

    path: Path
    graph: Graph
    calibration: Dataset
    evaluation: Dataset
    caveats: tuple[ResultWarning, ...]


def open_subject(study: StudyFile, base_dir: Path, progress: Progress = SILENT) -> Subject:
    """Open the model and data that ``study`` names.

    Args:
        study: The study.
        base_dir: What its relative paths are relative to.
        progress: Told what is under way.

    Raises:
        ModelError: the model cannot be used.
        DataError: the data cannot be used, or does not fit the model.
    """
    path = base_dir / study.model
    if not path.exists():
        raise ModelError(
            f"The study file names the model '{study.model}', but there is no file '{path}'.",
            hint="Correct `model:`; it is relative to the study file's folder.",
            path=path,
        )
    load_model(path)  # the model's own faults come before those of its data
    with open_session(path) as session:
        inputs = session.inputs
    dataset = open_dataset(_with_sizes(study.data, inputs, path, progress), inputs, base_dir)
    calibration, evaluation = study.quality.calibration, study.quality.evaluation
    if dataset.random:
        # Random inputs back no figure of quality, so operators get as many as there are to judge.
        half = len(dataset) // 2
        calibration, evaluation = min(calibration, half), min(evaluation, half)
    split = split_indices(
        len(dataset),
        calibration,
        evaluation,
        study.measure.seed,
        dataset.labels,
    )
    return Subject(
        path=path,
        graph=prepare(path, dataset.feeds(0), progress=progress),
        calibration=dataset.subset(split.calibration),
        evaluation=dataset.subset(split.evaluation),
        caveats=_caveats(len(split.evaluation), split.notes),
    )


def _with_sizes(
    spec: DataSpec, inputs: tuple[Port, ...], path: Path, progress: Progress
) -> DataSpec:
    """Random input for a model with free sizes needs some: those that the model runs with."""
    free = [port for port in inputs if None in port.shape and port.name not in spec.sizes]
    if spec.images is not None or spec.npz is not None or not free:
        return spec
    graph = prepare(path, progress=progress)
    shapes = {tensor.name: tensor.shape for tensor in graph.inputs}
    found = {port.name: shapes[port.name] for port in free}
    return spec.model_copy(update={"sizes": {**found, **spec.sizes}})


def _caveats(evaluation: int, notes: tuple[str, ...]) -> tuple[ResultWarning, ...]:
    if evaluation >= _FEW_INPUTS and not notes:
        return ()
    return (
        ResultWarning(
            WarningKind.FEW_INPUTS,
            "",
            " ".join(notes) or f"Quality is measured on {evaluation} inputs.",
            "Add inputs to `data`, or lower `calibration` and `evaluation` under `quality:`.",
        ),
    )
