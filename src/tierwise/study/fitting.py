"""Deploy every strategy once: does it fit its tiers, and does it answer what it should?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.data.source import Dataset
from tierwise.errors import TierFault
from tierwise.operators.partition import crossed
from tierwise.operators.strategy import Strategy
from tierwise.progress import SILENT, Progress
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.study.deployment import Deployment
from tierwise.study.segments import Segment, postprocess_for
from tierwise.study.variants import StoredVariant
from tierwise.units import format_bytes

# heuristic: enough to notice a wrong cut, layout or encoding, which are wrong for every input.
_COMPARED_INPUTS = 3
# Graph optimisations differ between a whole model and its segments. In float they move results by
# a few units in the last place; where integers are rounded, by a step of the scale. heuristic, as
# shares of the output's largest value: 1e-3 is 2^13 units of float32's last place, 5e-2 is six
# steps of int8; a wrong cut, layout or encoding is off by the size of the output itself.
_FLOAT_TOLERANCE, _INT8_TOLERANCE = 1e-3, 5e-2
# heuristic: class maps flip where two classes are nearly equal.
_EQUAL_SHARE = 0.99


@dataclass
class Fitting:
    """What deploying showed.

    Attributes:
        does_not_fit: Why a tier cannot hold a strategy.
        failed: Strategies that a tier refused, with what it said.
        memory_bytes: Peak memory that each strategy's tiers needed for it alone.
        crowded: Tiers that hold each strategy, but not all of them at once.
        caveats: Outputs that differ from the variant's own.
    """

    does_not_fit: dict[Strategy, str] = field(default_factory=dict)
    failed: dict[Strategy, str] = field(default_factory=dict)
    memory_bytes: dict[Strategy, dict[str, int]] = field(default_factory=dict)
    crowded: set[str] = field(default_factory=set)
    caveats: list[ResultWarning] = field(default_factory=list)


class Fitter:
    """Deploys strategies one after another and keeps those that fit loaded."""

    def __init__(
        self,
        deployment: Deployment,
        segments: Mapping[Strategy, tuple[Segment, ...]],
        variants: Mapping[str, StoredVariant],
        data: Dataset,
        task: str,
    ) -> None:
        """Prepare to deploy ``segments``; requests carry the inputs of ``data``."""
        self.found = Fitting()
        self._deployment = deployment
        self._running = deployment.running
        self._segments = segments
        self._data = data
        self._task = task
        self._count = min(_COMPARED_INPUTS, len(data))
        self._expected = {
            name: _expected(variant, data, task, self._count) for name, variant in variants.items()
        }
        tiers = deployment.topology.names
        # An agent that has loaded nothing yet; every strategy needs that much as well.
        self._empty = {tier: self._running.peak_memory_bytes(tier) for tier in tiers}

    def fit_all(self, strategies: Sequence[Strategy], progress: Progress = SILENT) -> Fitting:
        """Deploy all of ``strategies`` and compare their answers."""
        with progress.task("Deploying", len(strategies)) as task:
            for strategy in strategies:
                self._fit(strategy)
                task.advance(note=strategy.id)
        return self.found

    def _fit(self, strategy: Strategy) -> None:
        before = {tier: self._running.peak_memory_bytes(tier) for tier in strategy.tiers}
        try:
            self._try(strategy)
        except TierFault as fault:
            self._explain(strategy, fault)
            return
        memory = {}
        for tier in strategy.tiers:
            peak, empty, had = (
                self._running.peak_memory_bytes(tier),
                self._empty[tier],
                before[tier],
            )
            if peak is not None and empty is not None and had is not None:
                own = sum(s.size_bytes for s in self._segments[strategy] if s.tier == tier)
                memory[tier] = empty + max(peak - had, own)
        self.found.memory_bytes[strategy] = memory

    def _try(self, strategy: Strategy) -> None:
        self._deployment.load(strategy, self._segments[strategy])
        replies = [
            self._deployment.infer(strategy, self._data.payload(index)).outputs
            for index in range(self._count)
        ]
        expected = self._expected[strategy.variant]
        if strategy.lossy:
            expected = self._chained(strategy)
        caveat = _compare(strategy, replies, expected)
        if caveat is not None:
            self.found.caveats.append(caveat)

    def _chained(self, strategy: Strategy) -> list[Mapping[str, np.ndarray]]:
        """What its segments answer here, with what crosses them encoded as between the tiers.

        An encoding's loss is known and part of the strategy's quality; here the question is
        whether the tiers do what was evaluated.
        """
        postprocess = postprocess_for(self._task)
        tensors = [dict(self._data.feeds(index)) for index in range(self._count)]
        for position, segment in enumerate(self._segments[strategy]):
            encodings = strategy.encodings_at(position)
            with open_session(segment.path, SessionOptions(threads=1)) as session:
                tensors = [crossed(session.run(one), encodings) for one in tensors]
        return [postprocess.apply(one) for one in tensors]

    def _explain(self, strategy: Strategy, fault: TierFault) -> None:
        """Tell a memory limit from any other fault, alone from together."""
        killed = [tier for tier in strategy.tiers if self._running.oom_killed(tier)]
        others = self._deployment.loaded
        self._deployment.forget(strategy)
        if not killed:
            self.found.failed[strategy] = fault.message
            self._deployment.revive()
            return
        if any(set(other.tiers) & set(killed) for other in others if other != strategy):
            alone = self._alone(strategy, killed)
            if alone:
                self.found.crowded.update(killed)
                return
        topology = self._deployment.topology
        self.found.does_not_fit[strategy] = "; ".join(
            f"{tier}: needs more than its {format_bytes(topology.tier(tier).memory_bytes or 0)}"
            for tier in killed
        )
        self._deployment.revive()

    def _alone(self, strategy: Strategy, killed: Sequence[str]) -> bool:
        """Whether ``strategy`` fits where nothing else is loaded."""
        self._deployment.forget_all()
        self._deployment.revive()
        try:
            self._try(strategy)
        except TierFault:
            self._deployment.forget(strategy)
            return False
        memory = {tier: self._running.peak_memory_bytes(tier) for tier in killed}
        self.found.memory_bytes[strategy] = {
            tier: peak for tier, peak in memory.items() if peak is not None
        }
        return True


def _expected(
    variant: StoredVariant, data: Dataset, task: str, count: int
) -> list[Mapping[str, np.ndarray]]:
    postprocess = postprocess_for(task)
    with open_session(variant.path, SessionOptions(threads=1)) as session:
        return [postprocess.apply(session.run(data.feeds(index))) for index in range(count)]


def _compare(
    strategy: Strategy,
    replies: Sequence[Mapping[str, np.ndarray]],
    expected: Sequence[Mapping[str, np.ndarray]],
) -> ResultWarning | None:
    # A boundary that rounds to integers may round another way for a difference in the last place.
    rounds = strategy.operator.quantizes or strategy.lossy
    tolerance = _INT8_TOLERANCE if rounds else _FLOAT_TOLERANCE
    for number, (got, wanted) in enumerate(zip(replies, expected, strict=True)):
        for name, value in wanted.items():
            difference = describe_difference(got.get(name), value, tolerance)
            if difference:
                return ResultWarning(
                    WarningKind.OUTPUT_DIFFERS,
                    strategy.id,
                    f"Output {name!r} of input {number}: {difference}.",
                    "Do not deploy it; compare its segments with `tierwise inspect`.",
                )
    return None


def describe_difference(got: np.ndarray | None, wanted: np.ndarray, tolerance: float) -> str:
    """How ``got`` differs from ``wanted`` by more than is to be expected; ``""`` if it does not.

    Floats may differ by ``tolerance`` of the largest value; of other types 99% must be equal.
    """
    if got is None:
        return "it is missing in the answer"
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return f"{got.dtype} {got.shape} instead of {wanted.dtype} {wanted.shape}"
    if not np.issubdtype(wanted.dtype, np.floating):
        equal = float(np.mean(got == wanted)) if wanted.size else 1.0
        return "" if equal >= _EQUAL_SHARE else f"only {equal:.1%} of its elements are equal"
    if not np.array_equal(np.isfinite(got), np.isfinite(wanted)):
        return "it is not finite where the other is"
    finite = np.isfinite(wanted)
    largest = float(np.abs(wanted[finite]).max(initial=1e-6))
    off = float(np.abs(got[finite].astype(np.float64) - wanted[finite]).max(initial=0.0))
    if off <= tolerance * largest:
        return ""
    return f"it is off by {off:.3g}, where the largest value is {largest:.3g}"
