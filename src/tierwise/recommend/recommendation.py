"""What ``recommend`` answers, as data: every strategy judged, and a verdict per condition."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from tierwise.recommend.latency import LatencyFigure
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.ties import BlockComparison, Comparison
from tierwise.stats.omnibus import Omnibus
from tierwise.store.results import (
    QualityFigure,
    ResultWarning,
    StudyResults,
    TrialResult,
    TrialState,
)
from tierwise.tiers.topology import NetworkCondition
from tierwise.units import format_bytes, format_duration


class Limit(Enum):
    """What a requirement can limit."""

    LATENCY = "latency"
    LOSS = "loss"
    MEMORY = "memory"


@dataclass(frozen=True)
class Miss:
    """A limit that a strategy does not keep, or is not known to keep.

    Attributes:
        limit: Which one.
        value: What the strategy needs, in seconds, points or bytes; ``None``: not known.
        allowed: What the requirement allows.
        why: In words, where ``value`` alone does not say it.
    """

    limit: Limit
    value: float | None
    allowed: float
    why: str = ""

    @property
    def excess(self) -> float:
        """By which factor the limit is missed, at least 1."""
        if self.value is None:
            return float("inf")
        if self.limit is Limit.LOSS:
            # Points are already relative, and the limit may be 0.
            return 1 + (self.value - self.allowed) / 10
        return self.value / self.allowed

    def figure(self, value: float) -> str:
        """``value`` in the unit of the limit."""
        if self.limit is Limit.LATENCY:
            return format_duration(value)
        return f"{value:.2g} points" if self.limit is Limit.LOSS else format_bytes(value)


@dataclass(frozen=True)
class Assessment:
    """One trial, judged.

    Attributes:
        trial: What was judged.
        latency: Its latency; ``None`` where there are no numbers.
        quality: Of its variant; ``None`` where it is not known.
        memory_bytes: The most that any of its tiers holds; ``None`` where it is not known.
        breakdown_s: Seconds of each part of a typical request.
        misses: Limits that are not kept.
        unsuited: Why it is never recommended although it may meet the requirement, or ``""``.
        tied_with_best: Whether it meets the requirement, and the samples do not show it to be
            slower than the fastest that does; true for the fastest itself.
        on_pareto_front: Whether no measured strategy is faster and loses less.
        against_best: The comparison with the fastest; ``None`` for itself, for what does not meet
            the requirement, and where they share too few blocks.
    """

    trial: TrialResult
    latency: LatencyFigure | None
    quality: QualityFigure | None
    memory_bytes: int | None
    breakdown_s: Mapping[str, float]
    misses: tuple[Miss, ...] = ()
    unsuited: str = ""
    tied_with_best: bool = False
    on_pareto_front: bool = False
    against_best: BlockComparison | None = None

    @property
    def id(self) -> str:
        """The strategy's id."""
        return self.trial.strategy.id

    @property
    def measured(self) -> bool:
        """Whether its latency was measured, and not predicted."""
        return self.latency is not None and self.latency.measured

    @property
    def loss(self) -> float | None:
        """Points of quality lost; ``None`` where it is not known."""
        return None if self.quality is None else self.quality.loss

    @property
    def meets(self) -> bool | None:
        """Whether it meets the requirement; ``None``: the numbers do not say."""
        if self.latency is None:
            return None if self.trial.state is TrialState.PENDING else False
        if any(miss.value is not None for miss in self.misses):
            return False
        return None if self.misses else True


@dataclass(frozen=True)
class ConditionVerdict:
    """The verdict under one network condition.

    Attributes:
        condition: The network.
        strategies: Every planned strategy, judged: fastest first, those without numbers last.
        fastest: Id of the fastest strategy that meets the requirement, or ``None``.
        recommended: Id of the simplest of those that cannot be told from it, or ``None``.
        omnibus: Kruskal-Wallis over all measured strategies; ``None`` below two.
        comparisons: Every pair of measured strategies.
        text: In words.
        predicted: Whether it is a prediction's, for which nothing has to be measured.
    """

    condition: NetworkCondition
    strategies: tuple[Assessment, ...]
    fastest: str | None
    recommended: str | None
    omnibus: Omnibus | None
    comparisons: tuple[Comparison, ...]
    text: str = ""
    predicted: bool = False

    def get(self, strategy_id: str) -> Assessment:
        """The assessment of the strategy with this id."""
        return next(a for a in self.strategies if a.id == strategy_id)

    @property
    def choice(self) -> Assessment | None:
        """The assessment of the recommended strategy."""
        return None if self.recommended is None else self.get(self.recommended)

    @property
    def waiting(self) -> bool:
        """Whether nothing is measured under the condition yet, though it could be."""
        if self.predicted:
            return False
        left = {TrialState.PENDING, TrialState.PREDICTED}
        states = {assessment.trial.state for assessment in self.strategies}
        return not any(a.measured for a in self.strategies) and not states.isdisjoint(left)

    @property
    def tied(self) -> tuple[Assessment, ...]:
        """Those tied with the fastest, other than the recommended one."""
        return tuple(a for a in self.strategies if a.tied_with_best and a.id != self.recommended)


@dataclass(frozen=True)
class Switch:
    """Between which measured bandwidths the recommendation changes.

    Attributes:
        link: Name of the link that was swept.
        low_bit_per_s: The last bandwidth at which ``below`` is recommended.
        high_bit_per_s: The first at which ``above`` is.
        below: Strategy id, or ``None`` where nothing meets the requirement.
        above: The same.
        elsewhere: The shapes of the other links, in words.
    """

    link: str
    low_bit_per_s: float
    high_bit_per_s: float
    below: str | None
    above: str | None
    elsewhere: str = ""


@dataclass(frozen=True)
class Recommendation:
    """The answer to a requirement.

    Attributes:
        requirement: What was asked.
        results: What it was asked of.
        verdicts: One for each condition asked about, in the order of the sweep.
        switches: Where the recommendation changes along the sweep.
        warnings: What to know before believing it.
        verdict: All of it in words.
    """

    requirement: Requirement
    results: StudyResults
    verdicts: tuple[ConditionVerdict, ...]
    switches: tuple[Switch, ...]
    warnings: tuple[ResultWarning, ...]
    verdict: str

    @property
    def met(self) -> bool:
        """Whether a strategy meets the requirement under every condition asked about."""
        return all(verdict.recommended is not None for verdict in self.verdicts)
