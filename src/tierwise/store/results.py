"""A study's results as data: what the store hands to recommend, report and predict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.measure.cold_start import ColdStart
from tierwise.operators.strategy import Strategy
from tierwise.quality.figure import QualityFigure
from tierwise.store.measured import Measured
from tierwise.tiers.topology import LinkShape, NetworkCondition, Topology

__all__ = [
    "Chosen",
    "ProbeFigure",
    "QualityFigure",
    "ResultWarning",
    "Round",
    "SegmentCosts",
    "StudyResults",
    "TrialResult",
    "TrialState",
    "VariantRecord",
    "WarningKind",
]


# Of the many trials without samples; nobody may write into it.
_NO_SAMPLES, _NO_NUMBERS = np.empty(0), np.empty(0, dtype=np.int64)
_NO_SAMPLES.flags.writeable = _NO_NUMBERS.flags.writeable = False


class TrialState(Enum):
    """What became of a trial."""

    MEASURED = "measured"
    PREDICTED = "predicted"  # not measured: the numbers come from the latency model
    DOES_NOT_FIT = "does not fit"
    FAILED = "failed"
    LEFT_OUT = "left out"  # for a reason that needs no measurement: the same as another, privacy
    PENDING = "pending"


class Chosen(Enum):
    """Why a trial is measured and not only predicted; the value is what people read."""

    CONTENDER = "could be the best"
    BASELINE = "baseline"
    CHECK = "check of the prediction"


@dataclass(frozen=True)
class Round:
    """What was decided to be measured under a condition, before it was.

    Attributes:
        first_block: Number of the round's first block.
        looks: Numbers of blocks after which it is looked whether the contenders are told apart.
        tests: How many looks there may be in all under the condition, other rounds included;
            every claim is corrected for so many.
        chosen: By strategy id, why it is measured.
    """

    first_block: int
    looks: tuple[int, ...]
    tests: int
    chosen: Mapping[str, Chosen]


@dataclass(frozen=True)
class SegmentCosts:
    """What a strategy's segments cost, told without its tiers and links.

    Attributes:
        compute_shares: The time of each segment as a share of the whole variant's, both on the
            machine that ran the study.
        hop_bytes: Bytes that a segment sends to the next, and of the answer on its way back,
            headers included; one fewer.
    """

    compute_shares: tuple[float, ...]
    hop_bytes: tuple[int, ...]


@dataclass(frozen=True)
class VariantRecord:
    """A built variant.

    Attributes:
        name: Such as ``"QE"``; key of :attr:`StudyResults.variants`.
        sha256: Content hash of its ONNX file in the store.
        size_bytes: Size of that file.
        macs: Multiply-accumulates of one inference.
        notes: What was done to it, in words ("exit add_5 to add_7, 12.1% of MACs saved").
    """

    name: str
    sha256: str
    size_bytes: int
    macs: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrialResult:
    """One strategy under one network condition.

    Attributes:
        strategy: What ran, where.
        condition: The network it ran under.
        state: Measured, predicted, or why there are no numbers.
        reason: In words, where the state needs one ("needs 612 MiB of 512 MiB").
        latency_s: Seconds of every timed request, shape ``(n,)``; empty unless measured.
        input_index: Which evaluation input each request carried, shape ``(n,)``.
        block: The block each request belonged to, shape ``(n,)``.
        parts_s: Where the time went, each of shape ``(n,)``, adding up to ``latency_s``. Keys:
            ``"preprocess@mobile"``, ``"compute@edge"``, ``"codec@edge"``, ``"queue@edge"``,
            ``"postprocess@cloud"``, ``"transfer@mobile-edge"`` (the path between two hops:
            ``"transfer@mobile-cloud"`` crosses both links), ``"client@mobile"``.
        wire_bytes: Bytes of a request and its answer over each link, by link name, median.
        memory_bytes: Peak resident memory per tier.
        predicted_s: ``(low, median, high)`` of the latency model, where one was made.
        cold_start: How the strategy starts, links unlimited; ``None`` where it was not measured.
        energy_j: Joules that the machine's CPU packages used in every timed request, shape
            ``(n,)``; empty where the machine does not tell.
    """

    strategy: Strategy
    condition: NetworkCondition
    state: TrialState
    reason: str = ""
    latency_s: np.ndarray = field(default_factory=lambda: _NO_SAMPLES)
    input_index: np.ndarray = field(default_factory=lambda: _NO_NUMBERS)
    block: np.ndarray = field(default_factory=lambda: _NO_NUMBERS)
    parts_s: Mapping[str, np.ndarray] = field(default_factory=dict)
    wire_bytes: Mapping[str, int] = field(default_factory=dict)
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    predicted_s: tuple[float, float, float] | None = None
    cold_start: ColdStart | None = None
    energy_j: np.ndarray = field(default_factory=lambda: _NO_SAMPLES)

    def typical_parts_s(self) -> dict[str, float]:
        """Seconds of each part of a typical request; they add up to about the median.

        The mean of the requests in the middle half by latency: what is late is now one part and
        now another, so medians of parts add up to less, and plain means follow a few slow requests.
        """
        if not len(self.latency_s):
            return {}
        low, high = np.quantile(self.latency_s, (0.25, 0.75))
        middle = (self.latency_s >= low) & (self.latency_s <= high)
        return {part: float(seconds[middle].mean()) for part, seconds in self.parts_s.items()}


@dataclass(frozen=True)
class ProbeFigure:
    """What an emulated tier or link achieved against what was asked of it.

    Attributes:
        subject: Tier or link name.
        quantity: ``"cpu factor"``, ``"bandwidth_bit_per_s"`` or ``"rtt_s"``.
        asked: What the study file says.
        achieved: What the probe measured.
        backend: What ran: ``"cgroup v1 cpu quota, 2 ms period"``, ``"netns + tbf"``, ...
    """

    subject: str
    quantity: str
    asked: float
    achieved: float
    backend: str


@dataclass(frozen=True)
class StudyResults:
    """Everything a finished (or half-finished) study knows.

    Attributes:
        name: The study's name.
        model: File name of the subject's model.
        task: ``"classification"``, ``"segmentation"`` or ``"any"``.
        topology: Tiers and links.
        conditions: Every network condition, in the order of the sweep.
        requirement: The study file's ``require:`` section, as written (may be empty).
        variants: By name.
        quality: By variant name; and by strategy id where a boundary's encoding changes values.
        trials: Every planned trial.
        probes: Of tiers and links.
        warnings: About the study as a whole or parts of it.
        environment: Machine, versions, back ends: label to value.
        profile: Strategies that were measured over unlimited links, to predict from; a
            :class:`TrialResult` each, under :func:`unlimited`.
        segment_costs: By strategy id, what is expected of its segments before they are measured.
        rounds: Of every condition whose trials were chosen by prediction; empty where the whole
            grid is measured.
        measured: How each condition was measured that has blocks.
    """

    name: str
    model: str
    task: str
    topology: Topology
    conditions: tuple[NetworkCondition, ...]
    requirement: Mapping[str, str]
    variants: Mapping[str, VariantRecord]
    quality: Mapping[str, QualityFigure]
    trials: tuple[TrialResult, ...]
    probes: tuple[ProbeFigure, ...] = ()
    warnings: tuple[ResultWarning, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    profile: tuple[TrialResult, ...] = ()
    segment_costs: Mapping[str, SegmentCosts] = field(default_factory=dict)
    rounds: Mapping[NetworkCondition, tuple[Round, ...]] = field(default_factory=dict)
    measured: Mapping[NetworkCondition, Measured] = field(default_factory=dict)

    def quality_of(self, strategy: Strategy) -> QualityFigure | None:
        """What the strategy answers: its own figure where its boundary loses, else its variant's.

        ``None`` where it was not evaluated.
        """
        if strategy.lossy:
            return self.quality.get(strategy.id)
        return self.quality.get(strategy.variant)

    def contenders(self, condition: NetworkCondition) -> Mapping[str, int]:
        """Ids of what could be the best under ``condition``, with the round that found so."""
        return contenders_of(self.rounds.get(condition, ()))

    def tests(self, condition: NetworkCondition) -> int:
        """How many looks the claims under ``condition`` are to be corrected for."""
        return max((one.tests for one in self.rounds.get(condition, ())), default=1)

    def chosen_as(self, trial: TrialResult) -> Chosen | None:
        """Why ``trial`` was measured; ``None`` where it was not, or nothing was chosen."""
        rounds = self.rounds.get(trial.condition, ())
        reasons = [
            one.chosen[trial.strategy.id] for one in rounds if trial.strategy.id in one.chosen
        ]
        return Chosen.CONTENDER if Chosen.CONTENDER in reasons else next(iter(reasons), None)


def contenders_of(rounds: Sequence[Round]) -> Mapping[str, int]:
    """Ids of what could be the best, with the number of the first round that found so."""
    joined: dict[str, int] = {}
    for number, one in enumerate(rounds):
        for name, why in one.chosen.items():
            if why is Chosen.CONTENDER:
                joined.setdefault(name, number)
    return joined


def unlimited(topology: Topology) -> NetworkCondition:
    """The network that a profile is measured over: no link is shaped."""
    return topology.condition({link.name: LinkShape() for link in topology.links})
