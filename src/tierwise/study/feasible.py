"""What a study can be refused for before anything is built: hours of work come behind it."""

import numpy as np

from tierwise.data.source import Dataset
from tierwise.graph.blocks import find_exit
from tierwise.graph.cuts import find_cut
from tierwise.operators.quantize import Backend, recipes_named, require_nncf
from tierwise.quality.evaluate import refer
from tierwise.quality.task import IGNORE_LABEL
from tierwise.runtime.session import require_providers
from tierwise.study.file import StudyFile
from tierwise.study.placing import Placing
from tierwise.study.subject import Subject
from tierwise.study.workload import Workload
from tierwise.tiers.emulated import require_possible
from tierwise.tiers.topology import Topology


def check_machine(study: StudyFile, topology: Topology) -> None:
    """Refuse what this machine cannot do for the emulated tiers, or for the operators.

    Raises:
        EnvironmentFault: execution providers, cores, a link back end, or jitter and loss of links
            that are not here.
        MissingExtra: a quantizer that is not installed.
    """
    for tier in topology.tiers:
        if tier.emulated:
            require_providers(tier.providers)
    require_possible(topology, study.measure.backend, study.conditions())
    if any(operator.quantizes for operator in study.operators.chosen):
        options = study.operators.quantize
        recipes = recipes_named(options.recipe, options.backend)
        if any(recipe.backend is Backend.NNCF for recipe in recipes):
            require_nncf()


def check_model(study: StudyFile, subject: Subject) -> None:
    """Refuse what the model does not have: a cut, an exit, a node to keep near, classes.

    Raises:
        CutError: the cut does not separate the graph, or is not known.
        ExitError: a tensor is not known, or the two do not fit each other.
        DataError: the outputs do not fit the task, or labels not the outputs.
    """
    for data in (subject.calibration, subject.evaluation):
        refer(subject.path, data.subset(_extremes(data)), study.task)
    partition, early_exit = study.operators.partition, study.operators.early_exit
    if partition.cut != "auto":
        find_cut(subject.graph, partition.cut)
    if partition.kept_near:
        _ = Placing(subject.graph, Workload(1.0, 0, 0), partition.kept_near).stay
    if early_exit.from_ is not None and early_exit.to is not None:
        find_exit(subject.graph, early_exit.from_, early_exit.to)


def _extremes(data: Dataset) -> tuple[int, ...]:
    """Inputs with the lowest and the highest label: if those fit the outputs, all do."""
    if data.labels is None:
        return (0,)
    labels = np.asarray(data.labels).reshape(len(data), -1)
    if labels.shape[1] > 1:
        labels = np.where(labels == IGNORE_LABEL, 0, labels)
    return int(labels.min(axis=1).argmin()), int(labels.max(axis=1).argmax())
