"""Static INT8: recipes are tried, measured where they will run, and guarded in quality."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.data.source import Dataset
from tierwise.errors import DataError
from tierwise.graph.analysis import Graph
from tierwise.operators.held_out import check_max_loss, hold_out
from tierwise.operators.quantize.build import (
    Builder,
    CannotQuantize,
    quantized_nodes,
)
from tierwise.operators.quantize.calibrate import Feeds
from tierwise.operators.quantize.guard import leave_in_float, rank_nodes
from tierwise.operators.quantize.latency import LatencyMeter, LocalMeter
from tierwise.operators.quantize.reasons import ADVICE, some_of, why_slow
from tierwise.operators.quantize.recipe import PRODUCTS, RECIPES, Calibration, Recipe
from tierwise.operators.variant import Variant
from tierwise.progress import SILENT, Progress
from tierwise.quality.evaluate import Reference, evaluate, refer
from tierwise.quality.task import Task
from tierwise.runtime.prepare import prepare

# heuristic: gains below this are within what timing scatters by; fp32 is the safer choice then.
MIN_GAIN = 0.03
# heuristic: recipes whose latencies differ by less are tied; the loss, then the order decides.
_TIE = 0.05
_CONFIRMED = 3  # heuristic: leaders that are timed twice
# How the names of operators on integers begin; others end in "Integer" (MatMulInteger).
_QUANTIZED = (
    "QuantizeLinear",
    "DynamicQuantize",
    "QLinear",
    "QGemm",
    "QAttention",
    "MatMulInteger",
)
# Protobuf stops at 2 GiB, and so does the quantizer.
_MOST_WEIGHT_BYTES = 1_800_000_000


@dataclass(frozen=True)
class Attempt:
    """One recipe that was tried.

    Attributes:
        recipe: Which.
        outcome: ``"chosen"``, or why it was not, in words.
        ratio: Latency in units of fp32's; ``None`` where it wasn't measured.
        loss: Points lost on held-out calibration data; ``None`` where it wasn't evaluated.
    """

    recipe: Recipe
    outcome: str
    ratio: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class QuantizedVariant(Variant):
    """A variant with the record of how it was found.

    Attributes:
        recipe: What it was quantized with; ``None``: it is fp32, and ``caveats`` say why.
        attempts: Every recipe of the search, in the order of trying.
        metric: What the attempts' losses are points of.
    """

    recipe: Recipe | None = None
    attempts: tuple[Attempt, ...] = ()
    metric: str = ""


def quantize(
    graph: Graph,
    calibration: Dataset,
    *,
    task: Task = "any",
    max_loss: float = 1.0,
    budget_s: float = 60.0,
    seed: int = 0,
    recipes: Sequence[Recipe] = RECIPES,
    meter: LatencyMeter | None = None,
    name: str = "Q",
    progress: Progress = SILENT,
) -> QuantizedVariant:
    """The fastest 8-bit model that loses at most ``max_loss`` points, or fp32 where none pays.

    Recipes are built, and timed against fp32 where the variant will run. Of those that are
    faster, the fastest within the quality budget wins; where none is within it, other ranges are
    tried, then the nodes that cause most output error are left in float. Ranges come from one
    part of ``calibration``, quality from the other.

    With one recipe the result depends on the arguments alone. With several, their measured
    latencies decide between them.

    Args:
        graph: Prepared (constants folded, batch normalisation merged), in float32.
        calibration: Data that nothing is reported on; labels are used where there are any.
        task: What the outputs mean.
        max_loss: Points of quality that may be lost.
        budget_s: Seconds for the search. At least one recipe is always tried.
        seed: Draws which inputs fit ranges and which judge.
        recipes: What to try, the most promising first.
        meter: Where latencies are measured; default: this process, one thread.
        name: Of the variant.
        progress: Told of every recipe.

    Raises:
        DataError: no calibration inputs, or they do not fit the model or the task.
    """
    if len(calibration) == 0:
        raise DataError(
            "Quantization needs calibration inputs, and there are none.",
            hint="Give some dozens: `calibration: 64` in the study file, or --calibration DIR.",
        )
    check_max_loss(max_loss)
    if not recipes:
        raise DataError("There is no recipe to try; at least one is required.")
    obstacle = _obstacle(graph)
    if obstacle:
        return _kept(graph, name, obstacle, "Nothing to do: fp32 is deployed.")
    fit, held_out = hold_out(calibration, seed)
    feeds = [fit.feeds(index) for index in range(len(fit))]
    try:
        builder = Builder(graph, feeds)
    except CannotQuantize as exc:
        return _kept(graph, name, exc.message, "Simplify the model (constant folding) and retry.")
    search = _Search(
        graph, builder, feeds, held_out, task, max_loss,
        deadline_s=time.monotonic() + budget_s,
        meter=meter or LocalMeter(feeds), name=name, progress=progress,
    )  # fmt: skip
    return search.run(recipes)


def _obstacle(graph: Graph) -> str:
    """Why the graph cannot be quantized at all; empty where it can."""
    kinds = {node.op_type for node in graph.data_nodes}
    if any(kind.startswith(_QUANTIZED) or kind.endswith("Integer") for kind in kinds):
        return "the model is quantized already"
    if graph.weight_bytes > _MOST_WEIGHT_BYTES:
        return "its weights are near 2 GiB or more, which ONNX Runtime's quantizer cannot hold"
    work = [node for node in graph.data_nodes if node.op_type in PRODUCTS]
    if not work:
        return f"it has none of the operators that 8 bits speed up ({', '.join(PRODUCTS)})"
    floats = {info.dtype for node in work for value in node.outputs[:1]
              if (info := graph.tensors.get(value.name or ""))}  # fmt: skip
    if floats and "float32" not in floats:
        return f"it computes in {', '.join(sorted(floats))}, not in float32"
    return ""


def _kept(graph: Graph, name: str, why: str, advice: str) -> QuantizedVariant:
    caveat = ResultWarning(WarningKind.INT8_SLOWER, name, f"Kept fp32: {why}.", advice)
    return QuantizedVariant(name, graph, (f"kept fp32: {why}",), (caveat,))


@dataclass
class _Candidate:
    """A recipe that was built and is faster than fp32."""

    recipe: Recipe
    model: bytes
    ratio: float
    loss: float | None = None


@dataclass
class _Search:
    graph: Graph
    builder: Builder
    feeds: Sequence[Feeds]
    held_out: Dataset
    task: Task
    max_loss: float
    deadline_s: float
    meter: LatencyMeter
    name: str
    progress: Progress
    attempts: list[Attempt] = field(default_factory=list)
    caveats: list[ResultWarning] = field(default_factory=list)
    evaluations: int = 0
    reference: Reference | None = None

    def run(self, recipes: Sequence[Recipe]) -> QuantizedVariant:
        with self.progress.task("quantize: latency of recipes", len(recipes)) as bar:
            built = []
            for position, recipe in enumerate(recipes):
                if position and time.monotonic() > self.deadline_s:
                    self.attempts.append(Attempt(recipe, "not tried: out of time"))
                else:
                    built += self._time(recipe)
                bar.advance(note=recipe.name)
        self._confirm(built)
        by_latency = sorted(built, key=lambda one: one.ratio)
        faster = [one for one in by_latency if one.ratio <= 1 - MIN_GAIN]
        if not faster:
            return self._keep_fp32(by_latency)
        with self.progress.task("quantize: quality", None):
            chosen = self._choose(faster)
        return self._keep_fp32(by_latency) if chosen is None else self._finish(chosen)

    def _time(self, recipe: Recipe) -> list[_Candidate]:
        try:
            model = self.builder.build(recipe)
        except CannotQuantize as exc:
            self.attempts.append(Attempt(recipe, f"cannot be built: {exc.message}"))
            return []
        ratio = self.meter.ratio(model, self.builder.model)
        self.attempts.append(Attempt(recipe, _outcome(ratio), ratio))
        return [_Candidate(recipe, model, ratio)]

    def _confirm(self, built: list[_Candidate]) -> None:
        """Time the leaders again, and believe the less favourable of the two.

        The fastest of many noisy ratios is too good to be true on average.
        """
        for candidate in sorted(built, key=lambda one: one.ratio)[:_CONFIRMED]:
            if candidate.ratio > 1 - MIN_GAIN:
                break
            candidate.ratio = max(
                candidate.ratio, self.meter.ratio(candidate.model, self.builder.model)
            )
            for position, attempt in enumerate(self.attempts):
                if attempt.recipe == candidate.recipe:
                    self.attempts[position] = replace(
                        attempt, ratio=candidate.ratio, outcome=_outcome(candidate.ratio)
                    )

    def _choose(self, faster: list[_Candidate]) -> _Candidate | None:
        """The fastest within the quality budget; cheap remedies first, the guard last."""
        within: list[_Candidate] = []
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

    def _rank(self, candidate: _Candidate) -> int:
        """Its place in the order of promise."""
        return next(i for i, one in enumerate(self.attempts) if one.recipe == candidate.recipe)

    def _recalibrate(self, candidate: _Candidate) -> _Candidate | None:
        """Ranges found otherwise; the latency stays, because the graph does."""
        for method in (Calibration.PERCENTILE, Calibration.ENTROPY):
            if time.monotonic() > self.deadline_s:
                return None
            recipe = candidate.recipe.calibrated(method)
            try:
                model = self.builder.build(recipe)
            except CannotQuantize as exc:
                self.attempts.append(Attempt(recipe, f"cannot be built: {exc.message}"))
                continue
            other = _Candidate(recipe, model, candidate.ratio)
            self.attempts.append(Attempt(recipe, "slower than another", other.ratio))
            if self._within(other):
                return other
        return None

    def _guard(self, candidate: _Candidate) -> _Candidate | None:
        """Leave the most sensitive nodes in float."""
        if time.monotonic() > self.deadline_s:
            return None
        nodes = quantized_nodes(candidate.model, self.graph)
        ranking = rank_nodes(self.builder, candidate.recipe, nodes, self.feeds, self.deadline_s)
        # Without a node that computes there is nothing left to gain.
        computing = {node for node in nodes if self.graph.node_macs[node] > 0}
        most = 0
        for group in ranking:
            computing -= {*group}
            if not computing:
                break
            most += 1
        found = leave_in_float(
            self.builder,
            candidate.recipe,
            ranking,
            most=most,
            loss_of=self._loss_of,
            max_loss=self.max_loss,
            deadline_s=self.deadline_s,
        )
        if found is None:
            return None
        ratio = self.meter.ratio(found.model, self.builder.model)
        self.attempts.append(Attempt(found.recipe, _outcome(ratio), ratio, found.loss))
        if ratio > 1 - MIN_GAIN:
            return None
        return _Candidate(found.recipe, found.model, ratio, found.loss)

    def _within(self, candidate: _Candidate) -> bool:
        loss = self._loss(candidate)
        within = loss <= self.max_loss
        outcome = "slower than another" if within else f"loses {loss:.2f} points"
        self._record(candidate.recipe, outcome, loss)
        return within

    def _loss(self, candidate: _Candidate) -> float:
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

    def _finish(self, chosen: _Candidate) -> QuantizedVariant:
        self._record(chosen.recipe, "chosen", chosen.loss)
        loss = self._loss(chosen)
        metric = self._metric
        notes = [
            chosen.recipe.name,
            f"{chosen.ratio:.2f} x the latency of fp32",
            f"loses {loss:.2f} points of {metric} on {len(self.held_out)} held-out inputs",
            *self.builder.notes,
        ]
        excluded = chosen.recipe.excluded
        if excluded:
            self.caveats.append(
                ResultWarning(
                    WarningKind.QUALITY_GUARD,
                    self.name,
                    f"{len(excluded)} nodes stay in float, or more than {self.max_loss:g} points "
                    f"would be lost: {some_of(excluded)}.",
                    "Allow more with `max_loss`, or accept the lower speed.",
                )
            )
        self._warn_of_few_inputs()
        graph = prepare(chosen.model, self.feeds[0], simplify=False)
        return QuantizedVariant(
            self.name, graph, tuple(notes), tuple(self.caveats),
            recipe=chosen.recipe, attempts=tuple(self.attempts), metric=metric,
        )  # fmt: skip

    @property
    def _metric(self) -> str:
        return "" if self.reference is None else self.reference.figure.metric

    def _keep_fp32(self, by_latency: list[_Candidate]) -> QuantizedVariant:
        if not by_latency:
            why = self.attempts[0].outcome
            kind, advice = WarningKind.INT8_SLOWER, "Nothing to do: fp32 is deployed."
        elif by_latency[0].ratio > 1 - MIN_GAIN:
            fastest = by_latency[0]
            timed = sum(attempt.ratio is not None for attempt in self.attempts)
            kind, advice = WarningKind.INT8_SLOWER, ADVICE
            why = why_slow(self.graph, fastest.model, self.meter.instructions)
            why = (
                f"the fastest of {timed} recipes ({fastest.recipe.name}) takes "
                f"{fastest.ratio:.2f} x the time of fp32; {why}"
            )
        else:
            kind, why = WarningKind.QUALITY_GUARD, self._why_lossy()
            advice = "Allow more loss with `max_loss`, or give more calibration inputs."
        self.caveats.append(ResultWarning(kind, self.name, f"Kept fp32: {why}.", advice))
        return QuantizedVariant(
            self.name, self.graph, (f"kept fp32: {why}", *self.builder.notes),
            tuple(self.caveats), attempts=tuple(self.attempts), metric=self._metric,
        )  # fmt: skip

    def _why_lossy(self) -> str:
        lossy = [a.loss for a in self.attempts if a.loss is not None and a.loss > self.max_loss]
        why = f"every recipe that is faster loses more than {self.max_loss:g} points"
        if lossy:
            why += f" (at least {min(lossy):.2f})"
        if any(a.recipe.excluded for a in self.attempts):
            return why + ", and with its most sensitive nodes in float it is no faster"
        if time.monotonic() > self.deadline_s:
            return why + ", and there was no time to leave sensitive nodes in float"
        return why + ", also with its most sensitive nodes in float"

    def _warn_of_few_inputs(self) -> None:
        resolution = 100 / len(self.held_out)
        if self.task == "classification" and resolution > self.max_loss:
            self.caveats.append(
                ResultWarning(
                    WarningKind.FEW_INPUTS,
                    self.name,
                    f"{len(self.held_out)} held-out inputs tell losses apart in steps of "
                    f"{resolution:.1f} points; the budget is {self.max_loss:g}.",
                    f"Give at least {int(1.5 * 100 / max(self.max_loss, 0.1))} calibration inputs.",
                )
            )


def _outcome(ratio: float) -> str:
    """Of a recipe that isn't chosen, as far as its latency tells."""
    return "slower than another" if ratio <= 1 - MIN_GAIN else "not faster than fp32"
