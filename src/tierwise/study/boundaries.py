"""How tensors cross between a strategy's tiers: chosen with the cut, judged, and accounted for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from tierwise.data.source import Dataset
from tierwise.graph.analysis import Graph
from tierwise.operators.choose_encodings import EncodingTrial, choose_encodings
from tierwise.operators.encoding import NONE, Encoding, EncodingCost
from tierwise.operators.held_out import hold_out
from tierwise.operators.partition import Chain, partition
from tierwise.operators.strategy import Strategy
from tierwise.quality.evaluate import Reference, evaluate, refer
from tierwise.quality.figure import QualityFigure
from tierwise.quality.task import Task
from tierwise.study.cut_choice import ChosenCuts, choose_cuts
from tierwise.study.placing import Hop, Placing, hop
from tierwise.tiers.topology import NetworkCondition, Topology

# heuristic: values are changed only where that saves at least this share of the latency.
_WORTH = 0.01
# heuristic: how often cuts are chosen anew because an encoding that they counted on lost too much.
_MOST_ROUNDS = 4
Encodings = tuple[tuple[tuple[str, str], ...], ...]
"""For each cut, pairs of a tensor's name and the text of its encoding, as a strategy has them."""


@dataclass
class BoundaryChooser:
    """Chooses cuts and encodings of one variant together; what it judged once it knows.

    Attributes:
        graph: The variant that is cut.
        placing: Its costs; encodings that turned out to lose too much are left out from then on.
        calibration: Scales are fitted to one part of it, losses judged on the other.
        task: What the outputs mean.
        max_loss: Points of quality that a boundary may lose.
        seed: Draws the parts.
    """

    graph: Graph
    placing: Placing
    calibration: Dataset
    task: Task
    max_loss: float
    seed: int
    _reference: Reference | None = None
    _losses: dict[frozenset[tuple[str, Encoding]], float] = field(default_factory=dict)

    def choose(
        self,
        tiers: Sequence[str],
        topology: Topology,
        conditions: Sequence[NetworkCondition],
    ) -> tuple[ChosenCuts, Encodings]:
        """The cuts with the least mean regret, and how the tensors cross them.

        Encodings are counted on before it is known what they lose, because that takes an
        evaluation each. Where the ones that a choice counts on lose too much, they are struck off
        and the cuts are chosen again.

        Raises:
            CutError: the variant cannot be cut so.
        """
        for _ in range(_MOST_ROUNDS):
            chosen = choose_cuts(self.placing, tiers, topology, conditions)
            encodings, too_lossy = self.encode(chosen, tiers, topology, conditions)
            if not too_lossy - self.placing.forbidden:
                break
            self.placing = replace(self.placing, forbidden=self.placing.forbidden | too_lossy)
        return chosen, encodings

    def encode(
        self,
        chosen: ChosenCuts,
        tiers: Sequence[str],
        topology: Topology,
        conditions: Sequence[NetworkCondition],
    ) -> tuple[Encodings, frozenset[tuple[str, str]]]:
        """How tensors cross ``chosen``; and which kinds of encoding of which lose too much."""
        if not self.placing.workload.crossing:
            return (), frozenset()
        parts = partition(self.graph, chosen.cuts)
        crossing = [
            _Weighed(
                [hop(topology, condition, near, far) for condition in conditions],
                chosen.predicted_s,
            )
            for near, far in pairwise(tiers)
        ]
        choice = choose_encodings(
            parts,
            self.calibration,
            crossing,
            task=self.task,
            max_loss=self.max_loss,
            seed=self.seed,
            lossy=not self.calibration.random,
            worth_s=_WORTH * float(np.mean(chosen.predicted_s)),
            reference=self._refer,
            losses=self._losses,
        )
        encodings = tuple(
            tuple((name, str(one)) for name, one in boundary.encodings.items() if one != NONE)
            for boundary in choice.partition.boundaries
        )
        return (encodings if any(encodings) else ()), _too_lossy(choice.trials, self.max_loss)

    def _refer(self) -> Reference:
        """The variant's own answers on the judging part, once."""
        if self._reference is None:
            _, held_out = hold_out(self.calibration, self.seed)
            self._reference = refer(self.graph.model, held_out, self.task)
        return self._reference


@dataclass(frozen=True)
class _Weighed:
    """Time to cross, over all conditions: each as a share of the whole latency under it."""

    hops: Sequence[Hop]
    latency_s: Sequence[float]

    def __call__(self, cost: EncodingCost) -> float:
        weights = [1 / seconds for seconds in self.latency_s]
        times = [one.crossing_s(cost) for one in self.hops]
        return sum(w * t for w, t in zip(weights, times, strict=True)) / sum(weights)


def _too_lossy(trials: Sequence[EncodingTrial], max_loss: float) -> frozenset[tuple[str, str]]:
    """Kinds of encoding that lose too much, by tensor."""
    return frozenset(
        (trial.tensor, trial.cost.encoding.kind.value)
        for trial in trials
        if trial.loss is not None and trial.loss > max_loss
    )


class BoundaryQuality:
    """The quality of strategies whose boundaries change values, each evaluated once."""

    def __init__(self, data: Dataset, task: Task, reference: Reference) -> None:
        """Evaluate on ``data``, whose original answers are ``reference``."""
        self._data = data
        self._task = task
        self._reference = reference
        self._known: dict[tuple[str, tuple[str, ...], Encodings], QualityFigure] = {}

    def of(self, strategy: Strategy, graph: Graph, chosen: ChosenCuts) -> QualityFigure:
        """What ``strategy`` answers, its boundary encoded and decoded as between tiers."""
        key = (strategy.variant, strategy.cuts, strategy.encodings)
        if key not in self._known:
            encodings = [strategy.encodings_at(at) for at in range(len(strategy.cuts))]
            chain = Chain(partition(graph, chosen.cuts, encodings))
            try:
                self._known[key] = evaluate(chain.run, self._data, self._task, self._reference)
            finally:
                chain.close()
        return self._known[key]
