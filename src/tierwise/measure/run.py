"""Warm up, then randomised complete blocks over all trials of a condition, until it is enough."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from tierwise.errors import TierFault, UserError
from tierwise.measure.clock import Clock, SystemClock
from tierwise.measure.machine import EnergyMeter, MachineState, MachineWatch
from tierwise.measure.narrowing import Look, Narrowing
from tierwise.measure.outcome import MeasureOutcome, StopReason
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.precision import Precision
from tierwise.measure.sample import Block, Failure, Sample, Timing
from tierwise.measure.sequence import input_of_block, order_of_block
from tierwise.measure.visit import Visit, Visitor
from tierwise.measure.warm_up import WarmUp, warm_up
from tierwise.progress import SILENT, Progress, Task

T = TypeVar("T")
# heuristic: a warm-up that takes longer than this share of the budget leaves too little to measure.
_WARM_UP_SHARE_OF_BUDGET = 0.25


def run_blocks(
    trials: Sequence[T],
    send: Callable[[T, int], Timing],
    plan: MeasurePlan,
    on_block: Callable[[Block], None],
    *,
    n_inputs: int,
    done: Sequence[Block] = (),
    trial_id: Callable[[T], str] = str,
    recover: Callable[[T, TierFault], bool] | None = None,
    watch: Callable[[], MachineState] | None = None,
    energy: Callable[[], float | None] | None = None,
    clock: Clock | None = None,
    pool: Executor | None = None,
    narrowing: Narrowing | None = None,
    warm: Collection[str] = (),
    progress: Progress = SILENT,
) -> MeasureOutcome:
    """Measure all ``trials`` of one condition, interleaved, and say why it stopped.

    First warm-up, whose requests are counted and discarded. Then blocks: every block carries one
    input through all trials in random order, so that whatever drifts hurts all trials alike.

    Args:
        trials: What is compared under one condition.
        send: Sends input number ``int`` through a trial and waits for the answer. Under Poisson
            arrivals it is called from several threads at once.
        plan: Blocks, warm-up, stopping rule, scenario and seeds.
        on_block: Called after each block, before the next one starts: commits it. What it raises
            ends the measurement; blocks before it stay.
        n_inputs: How many inputs there are to choose from.
        done: Blocks of earlier runs, in order; the measurement goes on behind them with the inputs
            and orders that it would have had.
        trial_id: A trial's id.
        recover: Called after a failed request; may bring a tier up again. Returns whether sessions
            were opened anew: then everything warms up again and the block starts over.
        watch: Gives the machine's condition since its last call; by default this machine's.
        energy: Gives the joules used since its last call; by default by this machine.
        clock: Where time comes from.
        pool: Sends under Poisson arrivals; by default as many threads as a burst has requests.
        narrowing: Which trials need no more blocks; says when it is enough instead of
            ``plan.min_blocks``, ``plan.max_blocks`` and the width of intervals.
        warm: Ids of trials that were measured a moment ago, and need no more than to be reached
            again.
        progress: Told of every block.

    Raises:
        UserError: there are no trials or no inputs, two trials have the same id, or ``done`` is
            not the beginning of this plan's sequence of blocks.

    A request that raises :class:`TierFault` is recorded as a :class:`Failure` and tried again, at
    most ``plan.attempts`` times; it never becomes a latency. Any other exception passes through.
    """
    ids = [trial_id(trial) for trial in trials]
    _check(ids, n_inputs, plan, done)
    clock = clock or SystemClock()
    with _senders(plan, pool) as senders:
        visitor = Visitor(
            trials=dict(zip(ids, trials, strict=True)),
            send=send,
            plan=plan,
            recover=recover or (lambda _trial, _fault: False),
            clock=clock,
            pool=senders,
            origin_s=clock.now_s() - sum(block.duration_s for block in done),
            energy=energy or EnergyMeter(),
        )
        run = _Run(visitor, n_inputs, done, watch or MachineWatch(), narrowing, warm=warm)
        return run.measure(on_block, progress)


@contextmanager
def _senders(plan: MeasurePlan, pool: Executor | None) -> Iterator[Executor | None]:
    """What sends a burst of arrivals; nothing where requests go one at a time."""
    if plan.arrivals_per_s is None or pool is not None:
        yield pool
        return
    with ThreadPoolExecutor(plan.requests_per_visit) as own:
        yield own


def _check(ids: Sequence[str], n_inputs: int, plan: MeasurePlan, done: Sequence[Block]) -> None:
    if not ids or n_inputs < 1:
        raise UserError(
            f"There is nothing to measure: {len(ids)} trials, {n_inputs} inputs; "
            "at least 1 of each is needed."
        )
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise UserError(f"Two trials are called {twice[0]!r}; every trial needs its own id.")
    for place, block in enumerate(done):
        expected = input_of_block(plan.seed_inputs, place, n_inputs)
        if (block.index, block.input_index) != (place, expected):
            raise UserError(
                f"Block {block.index} with input {block.input_index} is where this plan has block "
                f"{place} with input {expected}: the blocks there were measured with other seeds "
                f"or inputs.",
                hint="Keep the study file's seeds and data as they were, or measure into an empty "
                "folder.",
                block=block.index,
            )


class _Run(Generic[T]):
    """One call of :func:`run_blocks`: what has happened so far."""

    def __init__(
        self,
        visitor: Visitor[T],
        n_inputs: int,
        done: Sequence[Block],
        watch: Callable[[], MachineState],
        narrowing: Narrowing | None,
        *,
        warm: Collection[str],
    ) -> None:
        self.narrowing, self.warm = narrowing, warm
        self.finished: set[str] = set()
        self.look: Look | None = None
        self.visitor, self.plan, self.n_inputs, self.watch = visitor, visitor.plan, n_inputs, watch
        self.precision = Precision(self.plan.confidence, done)
        self.next_block = len(done)
        self.misses = dict.fromkeys(visitor.trials, 0)
        self.abandoned: dict[str, str] = {}
        for block in done:
            self._count_misses(block)
            self._narrow(block)
        self.requests = self.failed = self.late = 0

    @property
    def live(self) -> list[str]:
        """Ids of the trials that are still tried."""
        return [
            name
            for name in self.visitor.trials
            if name not in self.abandoned and name not in self.finished
        ]

    @property
    def spent_s(self) -> float:
        """Time of this run, and of the blocks of earlier ones."""
        return self.visitor.clock.now_s() - self.visitor.origin_s

    def measure(self, on_block: Callable[[Block], None], progress: Progress) -> MeasureOutcome:
        """Warm up, then measure blocks until it is enough."""
        reason, warmth = self._enough(), WarmUp()
        if reason is None:
            with progress.task("Warming up", self.plan.max_warmup_blocks) as task:
                warmth = self._warm_up(task)
            reason = self._enough()
        most = self.plan.max_blocks if self.narrowing is None else self.narrowing.most_blocks
        with progress.task("Blocks", most) as task:
            task.advance(self.next_block)
            while reason is None:
                self._measure_block(on_block)
                task.advance(note=f"{len(self.live)} trials")
                reason = self._enough()
        return MeasureOutcome(
            reason=reason,
            blocks=self.next_block,
            warm_up=warmth,
            intervals=self.precision.intervals(),
            abandoned=self.abandoned,
            requests=self.requests,
            failures=self.failed,
            late=self.late,
            spent_s=self.spent_s,
        )

    def _measure_block(self, on_block: Callable[[Block], None]) -> None:
        block = self._block(self.next_block)
        on_block(block)
        self.precision.add(block)
        self._count_misses(block)
        self._narrow(block)
        self.requests += len(block.samples)
        self.late += sum(sample.late for sample in block.samples)
        self.next_block += 1

    def _enough(self) -> StopReason | None:
        plan = self.plan
        reason = self._enough_fixed() if self.narrowing is None else self._enough_narrowed()
        if reason is None and plan.budget_s is not None and self.spent_s >= plan.budget_s:
            return StopReason.BUDGET
        return reason

    def _enough_fixed(self) -> StopReason | None:
        plan = self.plan
        if not self.live:
            return StopReason.NO_TRIAL_LEFT
        if self.next_block >= plan.min_blocks and self.precision.within(
            plan.target_relative_width, self.live
        ):
            return StopReason.NARROW
        return StopReason.MOST_BLOCKS if self.next_block >= plan.max_blocks else None

    def _enough_narrowed(self) -> StopReason | None:
        if self.look is not None and self.look.enough:
            return StopReason.NOT_WORTH_IT if self.look.open else StopReason.TOLD_APART
        if self.look is not None and self.look.last:
            return StopReason.MOST_BLOCKS
        return None if self.live else StopReason.NO_TRIAL_LEFT

    def _narrow(self, block: Block) -> None:
        look = None if self.narrowing is None else self.narrowing.add(block)
        if look is not None:
            self.look = look
            self.finished |= look.finished

    def _warm_up(self, task: Task) -> WarmUp:
        budget_s = math.inf if self.plan.budget_s is None else self.plan.budget_s
        return warm_up(
            self.live,
            self._visit,
            self.plan,
            n_inputs=self.n_inputs,
            now_s=self.visitor.clock.now_s,
            most_s=budget_s * _WARM_UP_SHARE_OF_BUDGET,
            task=task,
            warm=self.warm,
        )

    def _visit(self, name: str, block: int, input_index: int) -> Visit:
        visit = self.visitor.visit(name, block, input_index)
        self.failed += len(visit.failures)
        return visit

    def _block(self, index: int) -> Block:
        """Measure a block; from its beginning again where sessions had to be opened anew."""
        plan, clock = self.plan, self.visitor.clock
        input_index = input_of_block(plan.seed_inputs, index, self.n_inputs)
        order = order_of_block(plan.seed_order, index, self.live, warm_up=False)
        failures: list[Failure] = []
        started_s = clock.now_s()
        for attempt in range(1, plan.attempts + 1):
            samples: list[Sample] = []
            self.watch()
            started_s = clock.now_s()
            for name in order:
                visit = self._visit(name, index, input_index)
                failures += visit.failures
                samples += visit.samples
                if visit.reopened:
                    self._warm_again(input_index)
                    if attempt < plan.attempts:
                        break
            else:
                break
        return Block(
            index=index,
            input_index=input_index,
            order=tuple(order),
            samples=tuple(samples),
            failures=tuple(failures),
            started_at_s=started_s - self.visitor.origin_s,
            duration_s=clock.now_s() - started_s,
            machine=self.watch(),
        )

    def _warm_again(self, input_index: int) -> None:
        """Bring every trial to where warm-up had brought it, after sessions were opened anew."""
        for warm_up_block in range(self.plan.min_warmup_blocks):
            for name in self.live:
                self._visit(name, -1 - warm_up_block, input_index)

    def _count_misses(self, block: Block) -> None:
        """Give up on trials that went without samples too many blocks in a row."""
        answered = {sample.trial for sample in block.samples}
        for name in block.order:
            if name not in self.misses:
                continue
            self.misses[name] = 0 if name in answered else self.misses[name] + 1
            if self.misses[name] >= self.plan.give_up_after:
                faults = [f.message for f in block.failures if f.trial == name]
                self.abandoned[name] = faults[-1] if faults else "no answer"
