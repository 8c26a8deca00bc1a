"""A whole study, from its file to its results: every stage is skipped where it is done already."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tierwise.disk import write_whole
from tierwise.operators.strategy import Operator
from tierwise.progress import SILENT, Progress
from tierwise.store.results import StudyResults, TrialState
from tierwise.store.write import StudyStore
from tierwise.study.estimate import estimate_s
from tierwise.study.feasible import check_machine, check_model
from tierwise.study.file import StudyFile
from tierwise.study.identity import check_identity, identity_of
from tierwise.study.job import MeasureJob
from tierwise.study.measuring import measure_study, unmeasured
from tierwise.study.parse import read_study_file
from tierwise.study.placements import Placement, placements
from tierwise.study.plan import PlannedStrategy, plan_trials
from tierwise.study.real_tiers import check_reachable
from tierwise.study.segments import make_segments
from tierwise.study.subject import Subject, open_subject
from tierwise.study.variants import StoredVariant, build_variants, evaluate_variants
from tierwise.tiers.topology import NetworkCondition, Topology
from tierwise.units import format_duration


@dataclass(frozen=True)
class Outline:
    """What a study would do, without doing it.

    Attributes:
        placements: Every operator with its tiers.
        topology: The tiers and links.
        conditions: The network conditions.
        samples: Timed requests of each measured strategy under each condition.
        strategies: ``"all"``, or ``"chosen"``: those that could be the best as far as is predicted.
        estimate_s: Rough time of the whole run.
    """

    placements: tuple[Placement, ...]
    topology: Topology
    conditions: tuple[NetworkCondition, ...]
    samples: int
    strategies: str
    estimate_s: float


def outline_study(path: Path, progress: Progress = SILENT) -> Outline:
    """What :func:`run_study` would do with the study file ``path``; runs and writes nothing.

    Raises:
        UserError: the study file, the model or the data cannot be used.
    """
    study, subject = _open(path, progress)
    topology, conditions = study.topology(path.parent), study.conditions()
    return Outline(
        placements=placements(
            study.operators.chosen, topology, study.operators.partition.most_tiers
        ),
        topology=topology,
        conditions=conditions,
        samples=study.measure.samples,
        strategies=study.measure.strategies,
        estimate_s=estimate_s(study, subject, topology, conditions),
    )


def run_study(
    path: Path, folder: Path, *, fresh: bool = False, progress: Progress = SILENT
) -> StudyResults:
    """Run the study file ``path`` in the directory ``folder``, or go on with it.

    Killed at any moment and called again, it goes on where it stopped: variants that are built are
    not built again, and blocks that are measured are not measured again.

    Args:
        path: The study file.
        folder: Made if it is not there.
        fresh: Drop what an earlier run left there.
        progress: Told of everything that takes time.

    Raises:
        UserError: the study file, model or data cannot be used, or ``folder`` belongs to another
            study or another run.
        EnvironmentFault: the tiers cannot be run here, or no space is left.
    """
    study, subject = _open(path, progress)
    topology, conditions = study.topology(path.parent), study.conditions()
    with StudyStore.open(folder, fresh=fresh) as store:
        _introduce(store, study, path, subject, progress)
        if store.is_done("plan") and not unmeasured(study, len(conditions), store):
            progress.say("Everything is measured already.")
            return store.results()
        check_reachable(topology)
        variants = build_variants(study, subject, topology, store, progress)
        evaluate_variants(study, subject, variants, store, progress)
        if not store.is_done("plan"):
            planned = plan_trials(
                study, subject, topology, conditions, variants, store=store, progress=progress
            )
            progress.say(_planned(planned, len(conditions)))
        measure_study(_job(study, subject, topology, variants, store), store, progress)
        return store.results()


def _open(path: Path, progress: Progress) -> tuple[StudyFile, Subject]:
    """The study and what it is of, where it can be run here."""
    study = read_study_file(path)
    check_machine(study, study.topology(path.parent))
    subject = open_subject(study, path.parent, progress)
    check_model(study, subject)
    return study, subject


def _job(
    study: StudyFile,
    subject: Subject,
    topology: Topology,
    variants: Mapping[Operator, StoredVariant],
    store: StudyStore,
) -> MeasureJob:
    """All that can be deployed, and what is sent to it."""
    by_name = {variant.record.name: variant for variant in variants.values()}
    strategies = dict.fromkeys(
        trial.strategy
        for trial in store.results().trials
        if trial.state not in {TrialState.DOES_NOT_FIT, TrialState.LEFT_OUT}
    )
    count = min(study.measure.inputs, len(subject.evaluation))
    return MeasureJob(
        study=study,
        topology=topology,
        conditions=study.conditions(),
        segments={
            one: make_segments(one, by_name[one.variant], store.artefacts) for one in strategies
        },
        variants=by_name,
        data=subject.evaluation.subset(range(count)),
    )


def _planned(planned: Sequence[PlannedStrategy], conditions: int) -> str:
    states = Counter(one.state for one in planned)
    unfit, same = states[TrialState.DOES_NOT_FIT], states[TrialState.LEFT_OUT]
    return (
        f"{len(planned) - same} strategies under {_conditions(conditions)}"
        + (f", {unfit} do not fit" if unfit else "")
        + (f"; {same} left out, which need no measurement" if same else "")
    )


def _introduce(
    store: StudyStore, study: StudyFile, path: Path, subject: Subject, progress: Progress
) -> None:
    """Make the directory this study's, or make sure that it is."""
    identity = check_identity(store, identity_of(study, subject, progress))
    store.set_study(
        name=study.name or Path(study.model).stem,
        model=Path(study.model).name,
        task=study.task,
        topology=study.topology(path.parent),
        conditions=study.conditions(),
        requirement=study.require.as_written(),
        facts={"identity": identity},
    )
    store.set_warnings(sorted({c.kind for c in subject.caveats}, key=str), subject.caveats)
    copy = store.folder / "study.yaml"
    if not copy.exists() or not copy.samefile(path):
        write_whole(copy, path.read_bytes())


def _conditions(count: int) -> str:
    return "1 network condition" if count == 1 else f"{count} network conditions"


def in_words(outline: Outline) -> str:
    """One line: how many trials, and how long."""
    trials = len(outline.placements) * len(outline.conditions)
    grid = (
        f"{len(outline.placements)} strategies under {_conditions(len(outline.conditions))} "
        f"= {trials} trials"
    )
    if outline.strategies == "all":
        how = f" of {outline.samples} samples"
    else:
        how = (
            f"; those that could be the best are measured, {outline.samples} samples or more each, "
            "the others predicted"
        )
    step_s = 10 if outline.estimate_s > 60 else 1
    about_s = max(round(outline.estimate_s / step_s) * step_s, 1)
    return f"{grid}{how}; about {format_duration(about_s)}."
