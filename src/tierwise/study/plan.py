"""From placements to trials: cuts and encodings chosen, what cannot be left out with a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tierwise.errors import CutError
from tierwise.graph.analysis import Graph
from tierwise.graph.cuts import Cut, find_cut
from tierwise.operators.strategy import Operator, Strategy
from tierwise.progress import SILENT, Progress
from tierwise.store.results import TrialState
from tierwise.store.trials import PlannedTrial
from tierwise.store.write import StudyStore
from tierwise.study.boundaries import BoundaryChooser, BoundaryQuality
from tierwise.study.cut_choice import ChosenCuts, predict_cuts_s
from tierwise.study.file import StudyFile
from tierwise.study.left_out import same_as_others, slower_than_fp32
from tierwise.study.placements import Placement, placements
from tierwise.study.placing import Placing
from tierwise.study.segments import make_segments
from tierwise.study.subject import Subject
from tierwise.study.variants import StoredVariant, original_answers
from tierwise.study.workload import measure_workload
from tierwise.tiers.topology import NetworkCondition, Topology
from tierwise.units import format_bytes


@dataclass(frozen=True)
class PlannedStrategy:
    """A strategy with its cut, and what is known of it already.

    Attributes:
        strategy: What runs, where.
        state: ``PENDING``; or ``DOES_NOT_FIT`` or ``LEFT_OUT``, where that is known already.
        reason: Why, in words.
    """

    strategy: Strategy
    state: TrialState = TrialState.PENDING
    reason: str = ""


def plan_trials(
    study: StudyFile,
    subject: Subject,
    topology: Topology,
    conditions: Sequence[NetworkCondition],
    variants: Mapping[Operator, StoredVariant],
    *,
    store: StudyStore,
    progress: Progress = SILENT,
) -> tuple[PlannedStrategy, ...]:
    """Choose cuts and encodings, judge what they lose, and keep the trials in the store.

    Raises:
        CutError: the named cut does not separate the graph.
        DiskFull: no space is left for the segments.
    """
    planner = _Planner(study, subject, topology, conditions, variants, store, progress)
    left_out = same_as_others(study.operators.chosen, variants)
    slower = slower_than_fp32(store.results().warnings)
    planned = []
    grid = placements(study.operators.chosen, topology, study.operators.partition.most_tiers)
    with progress.task("Choosing cuts", len(grid)) as task:
        for placement in grid:
            reason = (
                left_out.get(placement.operator)
                or slower.get(placement.id)
                or planner.forbids(placement)
            )
            planned.append(_left_out(placement, reason) if reason else planner.plan(placement))
            task.advance(note=placement.id)
    # Those with numbers first: a table of what was measured ends with what was not.
    planned.sort(key=lambda one: one.state is TrialState.LEFT_OUT)
    store.set_trials(
        [
            PlannedTrial(one.strategy, condition, one.state, one.reason)
            for condition in conditions
            for one in planned
        ]
    )
    return tuple(planned)


def _left_out(placement: Placement, reason: str) -> PlannedStrategy:
    operator = placement.operator
    strategy = Strategy(operator, operator.variant.value, placement.tiers)
    return PlannedStrategy(strategy, TrialState.LEFT_OUT, reason)


@dataclass
class _Planner:
    study: StudyFile
    subject: Subject
    topology: Topology
    conditions: Sequence[NetworkCondition]
    variants: Mapping[Operator, StoredVariant]
    store: StudyStore
    progress: Progress
    _choosers: dict[Operator, BoundaryChooser] = field(default_factory=dict)
    _quality: BoundaryQuality | None = None

    def forbids(self, placement: Placement) -> str:
        """Why privacy forbids it; ``""`` where it does not."""
        first = self.topology.names[0]
        if self.study.operators.partition.kept_near and placement.tiers[0] != first:
            return f"privacy: the raw input would leave {first}"
        return ""

    def plan(self, placement: Placement) -> PlannedStrategy:
        """The strategy of one placement, cut where it is partitioned."""
        variant = self.variants[placement.operator.variant]
        if len(placement.tiers) == 1:
            strategy = Strategy(placement.operator, variant.record.name, placement.tiers)
            return self._check_size(strategy, variant)
        try:
            return self._cut(placement, variant)
        except CutError as error:
            options = self.study.operators.partition
            if options.kept_near:
                return _left_out(placement, f"privacy: {error.message}")
            if options.cut != "auto":  # what was asked for by name must not be missing silently
                raise
            reason = error.message.removesuffix(".")
            return _left_out(placement, reason[0].lower() + reason[1:])

    def _cut(self, placement: Placement, variant: StoredVariant) -> PlannedStrategy:
        options, tiers = self.study.operators.partition, placement.tiers
        chooser = self._chooser(placement.operator.variant)
        if options.cut == "auto":
            chosen, encodings = chooser.choose(tiers, self.topology, self.conditions)
        else:
            cut = named_cut(options.cut, self.subject.graph, variant.graph)
            _check_private(chooser.placing, cut)
            predicted_s = tuple(
                predict_cuts_s(chooser.placing, [cut], tiers, self.topology, one)
                for one in self.conditions
            )
            chosen = ChosenCuts((cut,), predicted_s)
            encodings, _ = chooser.encode(chosen, tiers, self.topology, self.conditions)
        strategy = Strategy(placement.operator, variant.record.name, tiers, chosen.names, encodings)
        if strategy.lossy:
            self._judge(strategy, variant, chosen)
        return self._check_size(strategy, variant)

    def _judge(self, strategy: Strategy, variant: StoredVariant, chosen: ChosenCuts) -> None:
        """Evaluate a strategy whose boundary changes values, on what nothing was fitted to."""
        if self._quality is None:
            data, task = self.subject.evaluation, self.study.task
            reference = original_answers(self.study, self.subject, self.variants, self.store)
            self._quality = BoundaryQuality(data, task, reference)
        figure = self._quality.of(strategy, variant.graph, chosen)
        self.store.add_strategy_quality(strategy, figure)
        self.progress.say(
            f"{strategy.id}: {strategy.encoding} crosses; {figure.metric} {figure.value:.1f} on "
            f"{figure.n} inputs, {figure.loss_in_words}"
        )

    def _chooser(self, operator: Operator) -> BoundaryChooser:
        if operator not in self._choosers:
            options, variant = self.study.operators.partition, self.variants[operator]
            workload = measure_workload(
                variant.path,
                variant.graph,
                self.subject.evaluation,
                self.subject.calibration,
                self.study.task,
                encode=options.encode == "auto",
            )
            self._choosers[operator] = BoundaryChooser(
                variant.graph,
                Placing(variant.graph, workload, options.kept_near),
                self.subject.calibration,
                self.study.task,
                options.max_loss,
                self.study.measure.seed,
            )
        return self._choosers[operator]

    def _check_size(self, strategy: Strategy, variant: StoredVariant) -> PlannedStrategy:
        """A segment whose file is larger than its tier's memory needs no trial to be told off."""
        for segment in make_segments(strategy, variant, self.store.artefacts):
            limit = self.topology.tier(segment.tier).memory_bytes
            if limit is not None and segment.size_bytes > limit:
                reason = (
                    f"{segment.tier}: the segment alone has {format_bytes(segment.size_bytes)} "
                    f"of {format_bytes(limit)}"
                )
                return PlannedStrategy(strategy, TrialState.DOES_NOT_FIT, reason)
        return PlannedStrategy(strategy)


def _check_private(placing: Placing, cut: Cut) -> None:
    if leaving := sorted(placing.stay & set(cut.names)):
        raise CutError(
            f"'{leaving[0]}' must stay on the first tier, but would cross cut '{cut.id}'.",
            hint="Cut later, or allow more to leave (`operators: {partition: {private: ...}}`).",
            tensor=leaving[0],
        )


def named_cut(name: str, original: Graph, graph: Graph) -> Cut:
    """The cut called ``name`` in a variant's ``graph``.

    Where quantizing or an exit took its tensors away, the variant's cut at the same share of the
    work stands for it.

    Raises:
        CutError: the original has no such cut.
    """
    wanted = find_cut(original, name)
    try:
        return find_cut(graph, name)
    except CutError:
        return find_cut(graph, wanted.head_macs / (wanted.head_macs + wanted.tail_macs))
