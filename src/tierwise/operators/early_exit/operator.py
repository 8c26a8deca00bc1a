"""The early-exit operator: which repeated blocks to skip, and how to make up for them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.errors import DataError, UserError
from tierwise.graph.analysis import Graph
from tierwise.graph.blocks import ExitCandidate, exit_candidates, find_exit
from tierwise.graph.skip import skip_blocks
from tierwise.operators.early_exit.fidelity import divergence
from tierwise.operators.early_exit.refit import (
    Compensation,
    Feeds,
    Means,
    compensate,
    outputs_of,
)
from tierwise.operators.early_exit.rules import RULES, last_of_last_stage
from tierwise.operators.early_exit.search import ExitSet, best_within, greedy_path
from tierwise.operators.variant import Variant
from tierwise.progress import SILENT, Progress
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import SessionOptions

# heuristic: the search ranks sets, it doesn't report them, so it needs fewer inputs than the refit.
_SEARCH_INPUTS = 32
# Below this the control and the compensation have nothing to be compared on.
_LEAST_INPUTS = 8
# One half fits, the other judges.
LEAST_SEARCH_INPUTS = 2 * _LEAST_INPUTS


# heuristic: from hardly noticeable to half of what a residual network can do without.
FRONT = (0.05, 0.1, 0.2, 0.3)
"""The shares to save where nobody says which."""


@dataclass(frozen=True)
class EarlyExitOptions:
    """What to skip, and whether to make up for it.

    Attributes:
        save: Shares of the model's cost to save, 0 to 1: one variant for each, a front.
        rule: ``"search"`` for the best set by fidelity, or a hand rule for comparison.
        exits: Pairs of tensors (from, to) to skip instead of any rule.
        compensate: Whether to make up for the skipped blocks in the weights around them.
        means: How that may be done; what helps on held-out calibration data is kept.
        seed: Of every random choice.
    """

    save: tuple[float, ...] = FRONT
    rule: Literal["search", "last-two", "last-four"] = "search"
    exits: tuple[tuple[str, str], ...] = ()
    compensate: bool = True
    means: tuple[Means, ...] = tuple(Means)
    seed: int = 0

    def __post_init__(self) -> None:
        for share in self.save:
            if not 0 < share < 1:
                raise UserError(
                    f"Early exit cannot save a share of {share}.",
                    hint="Give a number between 0 and 1, such as --save 0.15.",
                    value=share,
                )


DEFAULT = EarlyExitOptions()


def early_exit(
    graph: Graph,
    calibration: Sequence[Feeds],
    options: EarlyExitOptions = DEFAULT,
    *,
    node_cost: Mapping[str, float] | None = None,
    session: SessionOptions | None = None,
    progress: Progress = SILENT,
) -> tuple[Variant, ...]:
    """Variants of ``graph`` with repeated blocks skipped: a front, cheapest saving first.

    Training-free: an exit jumps from the output of an earlier block to that of a later one of
    the same shape, and everything between is removed (arXiv 2403.17154). Which blocks, a lazy
    greedy search on calibration data decides; the weights around them are then refitted in
    closed form, on one half of the calibration data, and kept where that helps on the other.

    Args:
        graph: The original.
        calibration: Inputs, none of which may be used to evaluate. Without any, only hand rules
            and named exits are possible, without compensation.
        options: See there.
        node_cost: Seconds of every node, by name, as :func:`~tierwise.runtime.profile.node_times`
            gives them; MACs where it isn't given. Only ratios count: a tier that is slower in all
            alike chooses the same blocks.
        session: Of the sessions that it opens; every core of this machine where it isn't given.
        progress: Told of every set that is tried.

    Returns:
        Named ``"E"`` where there is one, else ``"E-10%"`` by the share saved. Empty where the
        graph has no block that can be skipped.

    Raises:
        ExitError: named tensors that are no exit of this graph.
        DataError: too few calibration inputs for a search.
    """
    bench = _Bench(
        graph,
        calibration,
        options,
        node_cost=node_cost,
        session=session or SessionOptions(threads=os.cpu_count() or 1),
        progress=progress,
    )
    if options.exits:
        choices = [_Choice(None, tuple(find_exit(graph, *pair) for pair in options.exits))]
    elif not bench.candidates:
        return ()
    elif options.rule != "search":
        choices = [_Choice(None, last_of_last_stage(bench.candidates, RULES[options.rule]))]
    else:
        choices = bench.search()
    many = len(options.save) > 1 and options.rule == "search" and not options.exits
    return tuple(bench.build(choice, suffixed=many) for choice in choices)


@dataclass(frozen=True)
class _Choice:
    target: float | None
    exits: tuple[ExitCandidate, ...]


class _Bench:
    """One graph, its calibration data in two halves, and what was asked."""

    def __init__(
        self,
        graph: Graph,
        calibration: Sequence[Feeds],
        options: EarlyExitOptions,
        *,
        node_cost: Mapping[str, float] | None,
        session: SessionOptions,
        progress: Progress,
    ) -> None:
        self.graph, self.options, self.session, self.progress = graph, options, session, progress
        self.timed = bool(node_cost)
        self.cost = dict(node_cost or graph.node_macs)
        self.inputs = len(calibration)
        half = self.inputs // 2
        self.fit, self.held_out = calibration[:half], calibration[half:]
        self.candidates = exit_candidates(graph)

    def search(self) -> list[_Choice]:
        """The best set of blocks for every share to save."""
        if self.inputs < LEAST_SEARCH_INPUTS:
            raise DataError(
                f"The search for early exits needs {LEAST_SEARCH_INPUTS} calibration inputs, but "
                f"there are {self.inputs}.",
                hint="Give more calibration data, or `rule: last-two` (`--rule last-two`).",
                needed=LEAST_SEARCH_INPUTS,
                got=self.inputs,
            )
        inputs = self.fit[:_SEARCH_INPUTS]
        truth = outputs_of(self.graph.model, inputs, self.session)
        saved = [self._saved_share((candidate,), self.cost) for candidate in self.candidates]
        with self.progress.task("Search early exits", None) as task:

            def evaluate(blocks: tuple[int, ...]) -> float:
                shortened = skip_blocks(self.graph, [self.candidates[block] for block in blocks])
                task.advance(note=f"{len(blocks)} blocks")
                return float(divergence(truth, outputs_of(shortened, inputs, self.session)).mean())

            path = greedy_path(saved, evaluate, max(self.options.save))
        sets: dict[float, ExitSet] = {}
        for target in sorted(self.options.save):
            # Where less than asked can be saved, the most there is; `build` says so.
            exits = best_within(path, target)
            if exits is not None and exits not in sets.values():
                sets[target] = exits
        return [
            _Choice(target, tuple(self.candidates[block] for block in exits.blocks))
            for target, exits in sets.items()
        ]

    def build(self, choice: _Choice, *, suffixed: bool) -> Variant:
        """The variant that skips the chosen blocks, compensated where that helps."""
        model = skip_blocks(self.graph, choice.exits)
        saved = self._saved_share(choice.exits, self.cost)
        macs_saved = self._saved_share(choice.exits, self.graph.node_macs)
        notes = [
            f"skips {_counted(len(choice.exits), 'block')}: {stretches_in_words(choice.exits)}",
            f"{macs_saved:.1%} of MACs saved"
            + (f", {saved:.1%} of the time of its kernels" if self.timed else ""),
        ]
        if self.options.compensate and len(self.fit) >= _LEAST_INPUTS:
            result = compensate(
                self.graph.model,
                model,
                [(e.from_tensor, e.to_tensor) for e in choice.exits],
                self.fit,
                self.held_out,
                options=self.session,
                seed=self.options.seed,
                means=self.options.means,
                progress=self.progress,
            )
            model = result.model
            notes.append(_in_words(result))
        caveats = []
        if choice.target is not None and saved < choice.target - 1e-9:
            caveats.append(_saves_less(saved, choice.target))
        feeds = self.fit[0] if self.fit else None
        variant = prepare(model, feeds, simplify=False)
        name = f"E-{round(100 * (choice.target or saved))}%" if suffixed else "E"
        return Variant(name, variant, tuple(notes), tuple(caveats))

    def _saved_share(self, exits: Sequence[ExitCandidate], cost: Mapping[str, float]) -> float:
        """Share of the cost of all nodes that the exits remove."""
        left = {node.name for node in skip_blocks(self.graph, exits).graph}
        costs = {node.name: float(cost.get(node.name or "", 0.0)) for node in self.graph.nodes}
        gone = sum(value for name, value in costs.items() if name not in left)
        total = sum(costs.values())
        return gone / total if total > 0 else 0.0


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def stretches_in_words(exits: Sequence[ExitCandidate]) -> str:
    """``"a to c, x to y"``: blocks that follow each other are one stretch."""
    stretches: list[tuple[str, str]] = []
    for one in exits:
        if stretches and stretches[-1][1] == one.from_tensor:
            stretches[-1] = (stretches[-1][0], one.to_tensor)
        else:
            stretches.append((one.from_tensor, one.to_tensor))
    return ", ".join(f"{start} to {end}" for start, end in stretches)


def _saves_less(saved: float, target: float) -> ResultWarning:
    return ResultWarning(
        WarningKind.NO_EXITS,
        "E",
        f"Blocks that can be skipped save {saved:.1%} at most; {target:.1%} was asked.",
        "Ask for less with `early_exit: {save: ...}`.",
    )


def _in_words(result: Compensation) -> str:
    if not result.refitted and not result.rematched:
        return "compensation did not help on held-out data and was left out"
    done = [
        f"{_counted(len(layers), 'layer')} {what}"
        for layers, what in ((result.refitted, "refitted"), (result.rematched, "re-matched"))
        if layers
    ]
    return (
        f"{', '.join(done)}: divergence on held-out calibration data "
        f"{result.plain_divergence:.4f} nats plain, {result.divergence:.4f} compensated"
    )
