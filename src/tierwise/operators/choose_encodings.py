"""Which encoding each tensor of a partition crosses in: the fastest within the quality budget."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.data.source import Dataset
from tierwise.errors import DataError
from tierwise.operators.encoding import (
    NONE,
    Encoding,
    EncodingCost,
    candidate_encodings,
    measure_encoding,
)
from tierwise.operators.held_out import check_max_loss, hold_out
from tierwise.operators.partition import Chain, Partition
from tierwise.progress import SILENT, Progress
from tierwise.quality.evaluate import Reference, evaluate, refer
from tierwise.quality.task import Task

Crossing = Callable[[EncodingCost], float]
"""Seconds in which a tensor of such a cost crosses a boundary."""
Losses = dict[frozenset[tuple[str, Encoding]], float]
"""Points lost by sets of tensors and their encodings, of one model on one set of inputs."""
# heuristic: sizes and times of one tensor scatter by some percent between inputs.
_COST_INPUTS = 16


@dataclass(frozen=True)
class EncodingTrial:
    """One encoding of one crossing tensor.

    Attributes:
        boundary: Index of the boundary.
        tensor: Name.
        cost: What it costs and saves.
        crossing_s: Time to encode, send and decode at the boundary's bandwidth.
        loss: Points of quality lost on held-out data when only this tensor is encoded so;
            ``None`` where it would not be faster than one that loses less, and so wasn't judged.
        chosen: Whether it is used.
    """

    boundary: int
    tensor: str
    cost: EncodingCost
    crossing_s: float
    loss: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class EncodingChoice:
    """A partition with encodings, and how they were found.

    Attributes:
        partition: With the encodings chosen.
        loss: Points of quality that all of them together lose on held-out data.
        trials: Every encoding of every tensor.
        caveats: What to know before believing it.
    """

    partition: Partition
    loss: float
    trials: tuple[EncodingTrial, ...]
    caveats: tuple[ResultWarning, ...] = ()


def choose_encodings(
    parts: Partition,
    calibration: Dataset,
    crossing: Sequence[Crossing],
    *,
    task: Task = "any",
    max_loss: float = 1.0,
    seed: int = 0,
    lossy: bool = True,
    worth_s: float = 0.0,
    reference: Callable[[], Reference] | None = None,
    losses: Losses | None = None,
    progress: Progress = SILENT,
) -> EncodingChoice:
    """Choose the encoding of every crossing tensor for the links that they cross.

    For each tensor the candidates are tried in the order of their time to cross (encoding,
    sending and decoding, measured here); the first that alone loses at most ``max_loss`` is
    taken. Where all together lose more, the tensor with the largest error steps back to its
    next candidate, until they don't.

    Args:
        parts: The segments.
        calibration: Scales come from one part of it, quality from the other.
        crossing: For each boundary, the time in which a tensor crosses that costs so much.
        task: What the outputs mean.
        max_loss: Points of quality that all encodings together may lose.
        seed: Draws which inputs fit and which judge.
        lossy: Whether encodings that change values are tried at all.
        worth_s: What an encoding that changes values must at least save over one that does not.
        reference: Gives the whole model's answers on the judging inputs, if somebody has them.
        losses: What is known of this model, data and seed already; what is judged is added.
        progress: Told of every quality evaluation.

    Raises:
        DataError: no calibration inputs, or not one of ``crossing`` for each boundary.
    """
    if len(calibration) == 0:
        raise DataError(
            "Boundary encodings are fitted to calibration inputs, and there are none.",
            hint="Give some: --calibration DIR, or --encode none.",
        )
    check_max_loss(max_loss)
    if len(crossing) != len(parts.boundaries):
        raise DataError(
            f"{len(crossing)} bandwidths for {len(parts.boundaries)} boundaries; one "
            "for each is required.",
            hint="Repeat --bandwidth for each cut, in their order.",
        )
    fit, held_out = hold_out(calibration, seed)
    chain = Chain(parts)
    try:
        candidates = _candidates(chain, fit, crossing, lossy=lossy, worth_s=worth_s)
        return _Choice(
            chain, parts, held_out, task=task, max_loss=max_loss,
            reference=reference or (lambda: refer(chain.run, held_out, task)),
            losses={} if losses is None else losses, progress=progress,
        ).run(candidates)  # fmt: skip
    finally:
        chain.close()


_Key = tuple[int, str]


def _candidates(
    chain: Chain, fit: Dataset, crossing: Sequence[Crossing], *, lossy: bool, worth_s: float
) -> dict[_Key, list[EncodingTrial]]:
    """The candidates of every tensor, the fastest to cross first."""
    samples: dict[_Key, list[np.ndarray]] = {}
    for index in range(min(len(fit), _COST_INPUTS)):
        for boundary, tensors in enumerate(chain.crossing(fit.feeds(index))):
            for name, tensor in tensors.items():
                samples.setdefault((boundary, name), []).append(tensor)
    found: dict[_Key, list[EncodingTrial]] = {}
    for (boundary, name), collected in samples.items():
        trials = []
        for encoding in candidate_encodings(collected):
            if lossy or encoding.lossless:
                cost = measure_encoding(encoding, collected)
                trials.append(EncodingTrial(boundary, name, cost, crossing[boundary](cost)))
        found[boundary, name] = sorted(
            trials,
            key=lambda one: one.crossing_s + (0.0 if one.cost.encoding.lossless else worth_s),
        )
    return found


class _Choice:
    def __init__(
        self, chain: Chain, parts: Partition, held_out: Dataset, *, task: Task,
        max_loss: float, reference: Callable[[], Reference], losses: Losses, progress: Progress,
    ) -> None:  # fmt: skip
        self._chain = chain
        self._parts = parts
        self._held_out = held_out
        self._task = task
        self._max_loss = max_loss
        self._progress = progress
        self._refer = reference
        self._reference: Reference | None = None
        # Compression loses nothing, so it shares the loss of what it compresses.
        self._losses = losses

    def run(self, candidates: dict[_Key, list[EncodingTrial]]) -> EncodingChoice:
        place = dict.fromkeys(candidates, 0)
        for key, trials in candidates.items():
            while self._loss({key: trials[place[key]]}) > self._max_loss:
                place[key] += 1  # ends at the latest at "none", which loses nothing
        while True:
            chosen = {key: candidates[key][index] for key, index in place.items()}
            loss = self._loss(chosen)
            if loss <= self._max_loss:
                break
            worst = max(chosen, key=lambda key: chosen[key].cost.error)
            error = chosen[worst].cost.error
            place[worst] = next(
                index
                for index, trial in enumerate(candidates[worst])
                if index > place[worst] and trial.cost.error < error
            )
        return self._finish(candidates, chosen, loss)

    def _finish(
        self, candidates: dict[_Key, list[EncodingTrial]], chosen: dict[_Key, EncodingTrial],
        loss: float,
    ) -> EncodingChoice:  # fmt: skip
        encodings: list[dict[str, Encoding]] = [{} for _ in self._parts.boundaries]
        for (boundary, name), trial in chosen.items():
            if trial.cost.encoding != NONE:
                encodings[boundary][name] = trial.cost.encoding
        trials = tuple(
            replace(trial, loss=self._known_loss(key, trial), chosen=chosen[key] is trial)
            for key, listed in candidates.items()
            for trial in listed
        )
        lossy = [trial for trial in chosen.values() if not trial.cost.encoding.lossless]
        caveats: tuple[ResultWarning, ...] = ()
        if lossy and len(self._held_out) * self._max_loss < 100 and self._task == "classification":
            caveats = (_few_inputs(len(self._held_out), self._max_loss),)
        return EncodingChoice(self._parts.encoded(encodings), loss, trials, caveats)

    def _loss(self, trials: Mapping[_Key, EncodingTrial]) -> float:
        lossy = {
            key: replace(trial.cost.encoding, compressed=False)
            for key, trial in trials.items()
            if not trial.cost.encoding.lossless
        }
        if not lossy:
            return 0.0
        known = frozenset((name, encoding) for (_, name), encoding in lossy.items())
        if known not in self._losses:
            encodings: list[dict[str, Encoding]] = [{} for _ in self._parts.boundaries]
            for (boundary, name), encoding in lossy.items():
                encodings[boundary][name] = encoding
            if self._reference is None:
                self._reference = self._refer()
            figure = evaluate(
                lambda feeds: self._chain.run(feeds, encodings),
                self._held_out,
                self._task,
                self._reference,
                progress=self._progress,
            )
            self._losses[known] = figure.loss
        return self._losses[known]

    def _known_loss(self, key: _Key, trial: EncodingTrial) -> float | None:
        encoding = trial.cost.encoding
        if encoding.lossless:
            return 0.0
        return self._losses.get(frozenset({(key[1], replace(encoding, compressed=False))}))


def _few_inputs(count: int, max_loss: float) -> ResultWarning:
    return ResultWarning(
        WarningKind.FEW_INPUTS,
        "",
        f"{count} held-out inputs tell losses apart in steps of {100 / count:.1f} points; the "
        f"budget is {max_loss:g}.",
        "Give more calibration inputs.",
    )
