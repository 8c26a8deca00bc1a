"""Build the variants of a study and keep them in its store; what is there is not built again."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.graph.analysis import Graph
from tierwise.graph.blocks import exit_candidates
from tierwise.operators.early_exit import (
    LEAST_SEARCH_INPUTS,
    EarlyExitOptions,
    deepest_within,
    early_exit,
)
from tierwise.operators.quantize import QuantizedVariant, quantize, recipes_named
from tierwise.operators.strategy import Operator
from tierwise.operators.variant import Variant
from tierwise.progress import SILENT, Progress
from tierwise.quality.evaluate import (
    Reference,
    evaluate,
    quality_caveats,
    refer,
    setup_caveats,
)
from tierwise.runtime.materialise import model_bytes
from tierwise.runtime.prepare import prepare
from tierwise.runtime.profile import node_times
from tierwise.store.results import VariantRecord
from tierwise.store.write import StudyStore
from tierwise.study.file import StudyFile
from tierwise.study.sections.operators import OperatorsSpec
from tierwise.study.subject import Subject
from tierwise.study.tier_meters import tier_meters
from tierwise.tiers.topology import Topology
from tierwise.units import format_duration

# The search's time grows with its inputs, what it finds hardly: with 48, 64 and 128 it skips the
# same four blocks of the demo's ResNet, for 22, 34 and 42 s of CPU, and the three lose 0.0, 0.2 and
# 0.0 points of top-1 on 500 evaluation inputs.
_EXIT_INPUTS = 64


@dataclass(frozen=True)
class StoredVariant:
    """A variant as the store has it: what is deployed is what was evaluated.

    Attributes:
        record: Name, hash, size, notes.
        path: The file in the store.
        graph: Read back from that file, so that cut names do not depend on how it was built.
    """

    record: VariantRecord
    path: Path
    graph: Graph


def needed_variants(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """The variants that ``operators`` deploy, in the order in which they build on one another."""
    wanted = {operator.variant for operator in operators} | {Operator.I}
    if Operator.QE in wanted:
        wanted.add(Operator.E)
    return tuple(one for one in (Operator.I, Operator.Q, Operator.E, Operator.QE) if one in wanted)


def build_variants(
    study: StudyFile,
    subject: Subject,
    topology: Topology,
    store: StudyStore,
    progress: Progress = SILENT,
) -> dict[Operator, StoredVariant]:
    """Every variant that the study needs, by operator; a variant that cannot be is left out.

    Without a block that can be skipped, or inputs to choose one by, there is no E and no QE; a
    warning in the store says so.

    Raises:
        UserError: an operator's options do not fit the model (tensors to exit between, a recipe).
        DataError: the calibration inputs do not suffice.
        TierFault: a real tier, on which recipes are timed, does not answer.
        DiskFull: no space is left; variants that are finished stay.
    """
    known = store.results().variants
    builder = _Builder(study, subject, topology, progress)
    stored: dict[Operator, StoredVariant] = {}
    for operator in needed_variants(study.operators.chosen):
        if operator.value in known:
            stored[operator] = _read(known[operator.value], store, subject)
            continue
        if operator.exits and Operator.E not in stored and store.is_done("no exits"):
            continue
        if operator is Operator.QE and Operator.E not in stored:
            continue
        source = stored[Operator.E].graph if operator is Operator.QE else subject.graph
        started_s = time.monotonic()
        variant = builder.build(operator, source)
        if isinstance(variant, ResultWarning):
            store.set_warnings([variant.kind], [variant])
            store.set_done("no exits")
            progress.say(f"{operator.value}: left out. {variant.evidence}")
            continue
        kept = stored.get(Operator(operator.value.replace("Q", "") or "I"))
        unchanged = isinstance(variant, QuantizedVariant) and variant.recipe is None
        stored[operator] = _keep(operator, variant, store, subject, kept if unchanged else None)
        took = format_duration(time.monotonic() - started_s)
        progress.say(f"{operator.value}: {_briefly(variant.notes)} (built in {took})")
    return stored


def _briefly(notes: Sequence[str]) -> str:
    """Notes for a line of the terminal: tensor names after a colon are for the report."""
    return "; ".join(note.split(": ")[0] for note in notes) or "the model as it is"


_NO_EXITS = ResultWarning(
    WarningKind.NO_EXITS,
    "E",
    "No block of the model has an input and an output of the same shape.",
    "Name two tensors: `operators: {early_exit: {from: A, to: B}}`, or leave E out.",
)


def _too_few_to_search(inputs: int) -> ResultWarning:
    return ResultWarning(
        WarningKind.NO_EXITS,
        "E",
        f"The search for blocks to skip needs {LEAST_SEARCH_INPUTS} calibration inputs, and there "
        f"are {inputs}.",
        f"Give `quality: {{calibration: {LEAST_SEARCH_INPUTS}}}` or more, add inputs, or set "
        "`operators: {early_exit: {rule: last-two}}`.",
    )


@dataclass(frozen=True)
class _Builder:
    study: StudyFile
    subject: Subject
    topology: Topology
    progress: Progress

    def build(self, operator: Operator, source: Graph) -> Variant | ResultWarning:
        """The variant, or why there is none."""
        if operator is Operator.I:
            return Variant("I", source)
        if operator is Operator.E:
            return self._early_exit(source)
        return self._quantize(operator, source)

    def _quantize(self, operator: Operator, source: Graph) -> Variant:
        options, data = self.study.operators.quantize, self.subject.calibration
        with tier_meters(self.topology, data) as meters:
            variant = quantize(
                source,
                data,
                task=self.study.task,
                max_loss=options.max_loss,
                budget_s=options.budget_s,
                seed=self.study.measure.seed,
                recipes=recipes_named(options.recipe, options.backend),
                meter=meters,
                name=operator.value,
                progress=self.progress,
            )
        # What is slower in a place is the strategy on each of its tiers.
        caveats = [
            replace(one, subject=f"{tier}/{operator.value}") if one.subject in meters else one
            for one in variant.caveats
            for tier in (one.subject.split(", ") if one.subject in meters else ("",))
        ]
        return replace(variant, caveats=tuple(caveats))

    def _early_exit(self, source: Graph) -> Variant | ResultWarning:
        options = exit_options(self.study.operators, self.study.measure.seed)
        searches = options.rule == "search" and not options.exits
        inputs = len(self.subject.calibration)
        if searches and inputs < LEAST_SEARCH_INPUTS and exit_candidates(source):
            return _too_few_to_search(inputs)
        feeds = list(self._feeds())
        # Emulated tiers are slower in all nodes alike, and only the nodes' shares count.
        times_s = node_times(source, feeds[0])
        front = early_exit(source, feeds, options, node_cost=times_s, progress=self.progress)
        if len(front) < 2:
            return front[0] if front else _NO_EXITS
        data = self.subject.calibration
        held_out = data.subset(range(len(feeds) // 2, len(data)))
        max_loss = self.study.operators.early_exit.max_loss
        return deepest_within(front, source, held_out, self.study.task, max_loss)

    def _feeds(self) -> Iterator[dict[str, np.ndarray]]:
        data = self.subject.calibration
        return (data.feeds(index) for index in range(min(len(data), _EXIT_INPUTS)))


def exit_options(spec: OperatorsSpec, seed: int) -> EarlyExitOptions:
    """The study file's early-exit section, as the operator has it."""
    options = spec.early_exit
    if options.from_ is not None and options.to is not None:
        return EarlyExitOptions(exits=((options.from_, options.to),), seed=seed)
    if options.rule is not None:
        return EarlyExitOptions(rule=options.rule, seed=seed)
    return EarlyExitOptions(save=tuple(options.save) or (0.15,), seed=seed)


def _keep(
    operator: Operator,
    variant: Variant,
    store: StudyStore,
    subject: Subject,
    same: StoredVariant | None,
) -> StoredVariant:
    """Keep the variant's file; ``same``: the variant that it still is, whose file serves both."""
    if same is None:
        content = model_bytes(variant.graph.model)
        sha256, size_bytes = store.artefacts.put(content), len(content)
    else:
        sha256, size_bytes = same.record.sha256, same.record.size_bytes
    record = VariantRecord(
        name=operator.value,
        sha256=sha256,
        size_bytes=size_bytes,
        macs=variant.graph.macs,
        notes=variant.notes,
    )
    caveats = [replace(one, subject=one.subject or operator.value) for one in variant.caveats]
    store.add_variant(record, caveats)
    return _read(record, store, subject)


def _read(record: VariantRecord, store: StudyStore, subject: Subject) -> StoredVariant:
    path = store.artefacts.verify(record.sha256)
    graph = prepare(path, subject.calibration.feeds(0), simplify=False)
    return StoredVariant(record, path, graph)


def evaluate_variants(
    study: StudyFile,
    subject: Subject,
    variants: dict[Operator, StoredVariant],
    store: StudyStore,
    progress: Progress = SILENT,
) -> None:
    """Quality of every variant that has none yet, on inputs that nothing was fitted on.

    Raises:
        DataError: the outputs or labels do not fit the task.
    """
    known = store.results().quality
    missing = [one for one in variants if one.value not in known]
    if not missing:
        return
    data = subject.evaluation
    with progress.task("Quality of variants", len(missing)) as task:
        reference = refer(variants[Operator.I].path, data, study.task, progress=progress)
        for operator in missing:
            twin = known.get(_same_file(operator, variants))
            if operator is Operator.I:
                figure = reference.figure
            elif twin is not None:
                figure = twin
            else:
                path = variants[operator].path
                figure = evaluate(path, data, study.task, reference, progress=progress)
            known = {**known, operator.value: figure}
            caveats = quality_caveats(figure, data)
            if operator is Operator.I:
                caveats += setup_caveats(figure, data)
            store.add_quality(operator.value, figure, caveats)
            progress.say(
                f"{operator.value}: {figure.metric} {figure.value:.1f} on {figure.n} inputs"
                + (f", {figure.loss_in_words}" if operator is not Operator.I else "")
            )
            task.advance(note=operator.value)


def original_answers(
    study: StudyFile,
    subject: Subject,
    variants: Mapping[Operator, StoredVariant],
    store: StudyStore,
) -> Reference:
    """What other models are judged against on the evaluation inputs.

    With labels the original's answers are not looked at again, so they are not made again.
    """
    figure, data = store.results().quality[Operator.I.value], subject.evaluation
    if figure.from_labels:
        return Reference(tuple({} for _ in range(len(data))), figure)
    return refer(variants[Operator.I].path, data, study.task)


def _same_file(operator: Operator, variants: dict[Operator, StoredVariant]) -> str:
    """Name of an earlier variant that is the same file; ``""`` where there is none."""
    sha256 = variants[operator].record.sha256
    earlier = (one for one in variants if one is not operator)
    return next((one.value for one in earlier if variants[one].record.sha256 == sha256), "")
