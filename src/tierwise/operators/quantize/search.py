"""The search for a recipe: what was tried, how fast it is, what it loses."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tierwise.data.source import Dataset
from tierwise.graph.analysis import Graph
from tierwise.operators.quantize.build import Builder, CannotQuantize
from tierwise.operators.quantize.calibrate import Feeds
from tierwise.operators.quantize.guard import leave_in_float, rank_nodes
from tierwise.operators.quantize.integer_nodes import quantized_nodes
from tierwise.operators.quantize.latency import Meters, overall, pays, ratios
from tierwise.operators.quantize.recipe import Calibration, Recipe
from tierwise.progress import Progress
from tierwise.quality.evaluate import Reference, evaluate, refer
from tierwise.quality.figure import loss_in_words
from tierwise.quality.task import Task

# heuristic: recipes whose latencies differ by less are tied; the loss, then the order decides.
_TIE = 0.05
_CONFIRMED = 3  # heuristic: leaders that are timed twice


@dataclass(frozen=True)
class Attempt:
    """One recipe that was tried.

    Attributes:
        recipe: Which.
        outcome: ``"chosen"``, or why it was not, in words.
        ratios: Latency in units of fp32's, by place; empty where it wasn't measured.
        loss: Points lost on held-out calibration data; ``None`` where it wasn't evaluated.
    """

    recipe: Recipe
    outcome: str
    ratios: Mapping[str, float] = field(default_factory=dict)
    loss: float | None = None

    @property
    def ratio(self) -> float | None:
        """Its latency over all places (see :func:`.latency.overall`), where it was measured."""
        ratio = overall(self.ratios.values())
        return ratio if math.isfinite(ratio) else None


@dataclass
class Candidate:
    """A recipe that was built, and what is known of it."""

    recipe: Recipe
    model: bytes
    ratios: Mapping[str, float]
    loss: float | None = None

    @property
    def ratio(self) -> float:
        """Its latency over all places, in units of fp32's."""
        return overall(self.ratios.values())


@dataclass
class Search:
    """One search.

    Attributes:
        graph: The original.
        builder: Builds its recipes.
        feeds: What ranges are fitted to.
        held_out: What recipes are judged by.
        task: What the outputs mean.
        max_loss: Points that may be lost.
        deadline_s: Of ``time.monotonic()``.
        meters: Where latencies are measured.
        progress: Told of every recipe.
        attempts: Every recipe so far, in the order of trying.
        evaluations: Models whose quality was evaluated so far.
        guarded: Of these, those with nodes left in float.
        reference: The original's answers, once they were needed.
    """

    graph: Graph
    builder: Builder
    feeds: Sequence[Feeds]
    held_out: Dataset
    task: Task
    max_loss: float
    deadline_s: float
    meters: Meters
    progress: Progress
    attempts: list[Attempt] = field(default_factory=list)
    evaluations: int = 0
    guarded: int = 0
    reference: Reference | None = None

    def run(self, recipes: Sequence[Recipe]) -> tuple[Candidate | None, Candidate | None]:
        """The chosen recipe, if one pays and is within the budget; and the fastest of all."""
        with self.progress.task("quantize: latency of recipes", len(recipes)) as bar:
            built = []
            for position, recipe in enumerate(recipes):
                if position and self.late:
                    self.attempts.append(Attempt(recipe, "not tried: out of time"))
                else:
                    built += self._time(recipe)
                bar.advance(note=recipe.name)
        self._confirm(built)
        by_latency = sorted(built, key=lambda one: one.ratio)
        faster = [one for one in by_latency if pays(one.ratios.values())]
        chosen = None
        if faster:
            with self.progress.task("quantize: quality", None):
                chosen = self._choose(faster)
        if chosen is not None:
            self._loss(chosen)
            self._record(chosen.recipe, "chosen", chosen.loss)
        return chosen, next(iter(by_latency), None)

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self.deadline_s

    def _time(self, recipe: Recipe) -> list[Candidate]:
        try:
            model = self.builder.build(recipe)
        except CannotQuantize as exc:
            self.attempts.append(Attempt(recipe, f"cannot be built: {exc.message}"))
            return []
        found = ratios(self.meters, model, self.builder.model)
        self.attempts.append(Attempt(recipe, _outcome(found), found))
        return [Candidate(recipe, model, found)]

    def _confirm(self, built: list[Candidate]) -> None:
        """Time the leaders again, and believe the less favourable of the two.

        The fastest of many noisy ratios is too good to be true on average.
        """
        for candidate in sorted(built, key=lambda one: one.ratio)[:_CONFIRMED]:
            if not pays(candidate.ratios.values()):
                break
            again = ratios(self.meters, candidate.model, self.builder.model)
            candidate.ratios = {
                place: max(before, again[place]) for place, before in candidate.ratios.items()
            }
            for position, attempt in enumerate(self.attempts):
                if attempt.recipe == candidate.recipe:
                    self.attempts[position] = replace(
                        attempt, ratios=candidate.ratios, outcome=_outcome(candidate.ratios)
                    )

    def _choose(self, faster: list[Candidate]) -> Candidate | None:
        """The fastest within the quality budget; cheap remedies first, the guard last."""
        within: list[Candidate] = []
        for candidate in faster:
            if within and candidate.ratio > within[0].ratio * (1 + _TIE):
                break
            if self._within(candidate):
                within.append(candidate)
        best = min(within, key=lambda one: (self._loss(one), self._rank(one)), default=None)
        for candidate in faster:
            if best is not None and candidate.ratio >= best.ratio * (1 - _TIE):
                break
            rescued = self._recalibrate(candidate) or self._guard(candidate)
            if rescued is not None and (best is None or rescued.ratio < best.ratio * (1 - _TIE)):
                best = rescued
        return best

    def _rank(self, candidate: Candidate) -> int:
        """Its place in the order of promise."""
        return next(i for i, one in enumerate(self.attempts) if one.recipe == candidate.recipe)

    def _recalibrate(self, candidate: Candidate) -> Candidate | None:
        """Ranges found otherwise; the latency stays, because the graph does."""
        for method in (Calibration.PERCENTILE, Calibration.ENTROPY):
            if self.late:
                return None
            recipe = candidate.recipe.calibrated(method)
            try:
                model = self.builder.build(recipe)
            except CannotQuantize as exc:
                self.attempts.append(Attempt(recipe, f"cannot be built: {exc.message}"))
                continue
            other = Candidate(recipe, model, candidate.ratios)
            self.attempts.append(Attempt(recipe, "slower than another", other.ratios))
            if self._within(other):
                return other
        return None

    def _guard(self, candidate: Candidate) -> Candidate | None:
        """Leave the most sensitive nodes in float."""
        if self.late:
            return None
        nodes = quantized_nodes(candidate.model, self.graph)
        ranking = rank_nodes(self.builder, candidate.recipe, nodes, self.feeds, self.deadline_s)
        before = self.evaluations
        found = leave_in_float(
            self.builder,
            candidate.recipe,
            ranking,
            most=self._most_in_float(nodes, ranking),
            loss_of=self._loss_of,
            max_loss=self.max_loss,
            deadline_s=self.deadline_s,
        )
        self.guarded += self.evaluations - before
        if found is None:
            return None
        timed = ratios(self.meters, found.model, self.builder.model)
        self.attempts.append(Attempt(found.recipe, _outcome(timed), timed, found.loss))
        if not pays(timed.values()):
            return None
        return Candidate(found.recipe, found.model, timed, found.loss)

    def _most_in_float(self, nodes: Sequence[str], ranking: Sequence[tuple[str, ...]]) -> int:
        """How many groups may stay in float before no node that computes is left in 8 bits."""
        computing = {node for node in nodes if self.graph.node_macs[node] > 0}
        for most, group in enumerate(ranking):
            computing -= {*group}
            if not computing:
                return most
        return len(ranking)

    def _within(self, candidate: Candidate) -> bool:
        loss = self._loss(candidate)
        within = loss <= self.max_loss
        outcome = "slower than another" if within else loss_in_words(loss, 2)
        self._record(candidate.recipe, outcome, loss)
        return within

    def _loss(self, candidate: Candidate) -> float:
        if candidate.loss is None:
            candidate.loss = self._loss_of(candidate.model)
        return candidate.loss

    def _loss_of(self, model: bytes) -> float:
        if self.reference is None:
            self.reference = refer(self.builder.model, self.held_out, self.task)
        self.evaluations += 1
        return evaluate(model, self.held_out, self.task, self.reference).loss

    def _record(self, recipe: Recipe, outcome: str, loss: float | None) -> None:
        for position, attempt in enumerate(self.attempts):
            if attempt.recipe == recipe:
                self.attempts[position] = replace(
                    attempt, outcome=outcome, loss=attempt.loss if loss is None else loss
                )


def _outcome(found: Mapping[str, float]) -> str:
    """Of a recipe that isn't chosen, as far as its latency tells."""
    return "slower than another" if pays(found.values()) else "not faster than fp32"
