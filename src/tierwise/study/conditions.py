"""One network condition: links shaped and probed, blocks sent and committed."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tierwise.caveats import ResultWarning
from tierwise.errors import TierFault
from tierwise.measure.machine import MachineWatch
from tierwise.measure.narrowing import Narrowing
from tierwise.measure.outcome import MeasureOutcome
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.run import run_blocks
from tierwise.measure.sample import Block, Timing
from tierwise.operators.strategy import Strategy
from tierwise.progress import SILENT, Progress
from tierwise.store.results import ProbeFigure, TrialState
from tierwise.store.write import StudyStore
from tierwise.study.caveats import lost_caveat, measured_caveats, probe_caveats
from tierwise.study.deployment import Deployment
from tierwise.study.job import MeasureJob
from tierwise.tiers.topology import NetworkCondition


@dataclass(frozen=True)
class Measuring:
    """Sends blocks through deployed strategies and keeps them.

    Attributes:
        job: What is measured.
        store: Where it goes.
        deployment: Has all strategies loaded.
        progress: Told of everything.
        warmed: Ids of the strategies that were measured since their tiers were started.
        dropped: Packets that each link has lost by now.
        lost: Those of them under each condition.
    """

    job: MeasureJob
    store: StudyStore
    deployment: Deployment
    progress: Progress = SILENT
    warmed: set[str] = field(default_factory=set)
    dropped: Counter[str] = field(default_factory=Counter)
    lost: defaultdict[NetworkCondition, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )

    def shape(self, condition: NetworkCondition) -> None:
        """Shape the links, after probing what they and the tiers achieve."""
        running = self.deployment.running
        with self.progress.task("Probing tiers and links", None):
            probes = [
                ProbeFigure(p.subject, p.quantity, p.asked, p.achieved, p.backend)
                for p in running.probe(condition)
            ]
        self.store.add_probes(probes)
        self._add_caveats(probe_caveats(probes, condition))
        running.shape(condition)

    def profile(self, strategies: Sequence[Strategy], plan: MeasurePlan) -> None:
        """Measure ``strategies`` over unlimited links, as what predictions start from."""
        self.deployment.running.shape(None)
        self._blocks(
            strategies, plan, list(self.store.profile_blocks()), self.store.add_profile_block
        )

    def condition(
        self,
        number: int,
        strategies: Sequence[Strategy],
        narrowing: Narrowing | None = None,
        *,
        shaped: bool = False,
    ) -> MeasureOutcome:
        """Measure ``strategies`` under a condition, behind the blocks that are there.

        Args:
            number: Of the condition.
            strategies: What is measured.
            narrowing: Which of them need no more blocks; ``None``: the study's plan says.
            shaped: The links are as the condition says already.
        """
        condition = self.job.conditions[number]
        if not shaped:
            self.shape(condition)
        blocks = list(self.store.blocks(condition))
        if blocks and not shaped:
            self.progress.say(f"{condition.id}: going on behind block {len(blocks)}.")
        plan = self.job.study.measure.plan()
        if narrowing is None and condition in self.store.results().rounds:
            plan = _behind(plan, blocks, strategies)
        outcome = self._blocks(
            strategies,
            plan,
            blocks,
            lambda block: self.store.add_block(condition, block),
            narrowing,
        )
        self.store.set_outcome(number, plan, outcome)
        for strategy in strategies:
            reason = outcome.abandoned.get(strategy.id, "")
            state = TrialState.FAILED if reason else TrialState.MEASURED
            self.store.finish_trial(strategy, condition, state, reason=reason)
        self._add_caveats(measured_caveats(condition, blocks, outcome))
        self._tell_losses(condition)
        name = condition.id or "one tier"
        self.progress.say(f"{name}: {outcome.blocks} blocks; {outcome.reason.value}.")
        return outcome

    def _tell_losses(self, condition: NetworkCondition) -> None:
        """Say which links lost packets since this was asked last, while probed or measured."""
        dropped = Counter(self.deployment.running.dropped_packets())
        new = dropped - self.dropped
        self.dropped.update(new)
        self.lost[condition].update(new)
        if new:
            warning = lost_caveat(condition, self.lost[condition])
            self._add_caveats([warning])
            self.progress.say(f"{condition.id}: {warning.evidence}")

    def _blocks(
        self,
        strategies: Sequence[Strategy],
        plan: MeasurePlan,
        blocks: list[Block],
        keep: Callable[[Block], None],
        narrowing: Narrowing | None = None,
    ) -> MeasureOutcome:
        def on_block(block: Block) -> None:
            keep(block)
            blocks.append(block)

        def send(strategy: Strategy, index: int) -> Timing:
            return self.deployment.send(strategy, self.job.data.payload(index))

        def recover(_: Strategy, fault: TierFault) -> bool:
            self.progress.say(f"A request failed and is sent again: {fault.message}")
            return self.deployment.revive()

        outcome = run_blocks(
            strategies,
            send,
            plan,
            on_block,
            n_inputs=len(self.job.data),
            done=tuple(blocks),
            trial_id=lambda strategy: strategy.id,
            recover=recover,
            watch=MachineWatch(kept_awake=self.deployment.running.kept_awake),
            narrowing=narrowing,
            warm=frozenset(self.warmed),
            progress=self.progress,
        )
        self.warmed.update(strategy.id for strategy in strategies)
        return outcome

    def _add_caveats(self, caveats: Sequence[ResultWarning]) -> None:
        self.store.set_warnings((), caveats)


def _behind(
    plan: MeasurePlan, blocks: Sequence[Block], strategies: Sequence[Strategy]
) -> MeasurePlan:
    """``plan`` for all ``strategies`` where only some of them are in the ``blocks`` so far."""
    counts = Counter(name for block in blocks for name in {s.trial for s in block.samples})
    missed = len(blocks) - min(counts[strategy.id] for strategy in strategies)
    return replace(plan, min_blocks=plan.min_blocks + missed, max_blocks=plan.max_blocks + missed)
