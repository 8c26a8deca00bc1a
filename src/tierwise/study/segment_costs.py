"""What segments cost before any tier runs them: their share of the time, and what they send."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tierwise.data.postprocess import Postprocess
from tierwise.data.source import Dataset
from tierwise.graph.cuts import find_cut
from tierwise.operators.encoding import encode
from tierwise.operators.strategy import Strategy
from tierwise.progress import SILENT, Progress
from tierwise.runtime.session import Session, SessionOptions, open_session
from tierwise.store.results import SegmentCosts
from tierwise.study.segments import Segment, postprocess_for
from tierwise.study.variants import StoredVariant
from tierwise.study.workload import HEADER_BYTES

_Place = tuple[str, tuple[str, ...]]
# heuristic: kernels differ along a network by type and not from node to node, so between so many
# cuts the time follows the multiply-accumulates.
_MOST_TIMED_CUTS = 8
# heuristic: a median of 3 runs is the least that one interrupted run does not move; more where
# they are quick.
_FEWEST_RUNS, _MOST_RUNS, _RUNS_S = 3, 15, 0.5


def measure_segment_costs(
    segments: Mapping[Strategy, tuple[Segment, ...]],
    variants: Mapping[str, StoredVariant],
    data: Dataset,
    task: str,
    progress: Progress = SILENT,
) -> dict[str, SegmentCosts]:
    """Costs of every strategy with more than one segment, by its id.

    Whole variant and segments are timed here, in turns, on one thread. Where a variant has more
    cuts than are timed, the others' shares follow their multiply-accumulates between those.

    Args:
        segments: Of every strategy.
        variants: By name.
        data: Its first input is what runs.
        task: Of the study: what becomes of the outputs before they are sent back.
        progress: Told of every cut.
    """
    by_place: dict[_Place, tuple[Segment, ...]] = {
        (strategy.variant, strategy.cuts): of for strategy, of in segments.items() if strategy.cuts
    }
    places = {place: _head_shares(place, variants) for place in by_place}
    timed = [
        place for name in variants for place in _spread([p for p in places if p[0] == name], places)
    ]
    found: dict[_Place, _Timed] = {}
    feeds = data.feeds(0) if timed else {}
    postprocess = postprocess_for(task)
    with progress.task("Timing segments", len(timed)) as shown:
        for place in timed:
            found[place] = _time(variants[place[0]], by_place[place], feeds, postprocess)
            shown.advance(note=f"{place[0]}@{'@'.join(place[1])}")
    shares = {
        place: found[place].shares if place in found else _between(place, found, places)
        for place in by_place
    }
    reply_bytes = {place[0]: one.reply_bytes for place, one in found.items()}
    costs = {}
    for strategy in segments:
        if strategy.cuts:
            place = (strategy.variant, strategy.cuts)
            sent = _sent(strategy, found.get(place), variants[strategy.variant])
            hop_bytes = tuple(size + reply_bytes[strategy.variant] for size in sent)
            costs[strategy.id] = SegmentCosts(shares[place], hop_bytes)
    return costs


@dataclass(frozen=True)
class _Timed:
    """Shares of the segments, by name what each sends to the next, and what comes back."""

    shares: tuple[float, ...]
    crossing: tuple[Mapping[str, np.ndarray], ...]
    reply_bytes: int


def _sent(strategy: Strategy, timed: _Timed | None, variant: StoredVariant) -> tuple[int, ...]:
    """Bytes of every hop's request; as they are, where the segments did not run."""
    if timed is None:
        cuts = (find_cut(variant.graph, cut) for cut in strategy.cuts)
        return tuple(cut.wire_bytes + HEADER_BYTES for cut in cuts)
    sent = []
    for position, crossing in enumerate(timed.crossing):
        encodings = strategy.encodings_at(position)
        sizes = [
            encode(tensor, encodings[name]).nbytes if name in encodings else tensor.nbytes
            for name, tensor in crossing.items()
        ]
        sent.append(sum(sizes) + HEADER_BYTES)
    return tuple(sent)


def _head_shares(place: _Place, variants: Mapping[str, StoredVariant]) -> tuple[float, ...]:
    """Share of the multiply-accumulates before each cut."""
    variant, cuts = place
    found = [find_cut(variants[variant].graph, cut) for cut in cuts]
    return tuple(cut.head_macs / max(cut.head_macs + cut.tail_macs, 1) for cut in found)


def _spread(
    places: Sequence[_Place], head_shares: Mapping[_Place, tuple[float, ...]]
) -> list[_Place]:
    """At most :data:`_MOST_TIMED_CUTS` of ``places``, spread over the work of their heads."""
    ordered = sorted(places, key=lambda place: head_shares[place])
    if len(ordered) <= _MOST_TIMED_CUTS:
        return ordered
    picked = np.linspace(0, len(ordered) - 1, _MOST_TIMED_CUTS).round().astype(int)
    return [ordered[i] for i in dict.fromkeys(picked.tolist())]


def _between(
    place: _Place, timed: Mapping[_Place, _Timed], places: Mapping[_Place, tuple[float, ...]]
) -> tuple[float, ...]:
    """Shares of segments whose cuts were not timed: linear in MACs between those that were."""
    points: dict[float, list[float]] = defaultdict(list)
    overheads = []
    for at, one in timed.items():
        if at[0] == place[0]:
            for macs, seconds in zip(places[at], np.cumsum(one.shares), strict=False):
                points[macs].append(float(seconds))
            overheads.append(sum(one.shares) - 1)
    points.setdefault(0.0, [0.0])
    points.setdefault(1.0, [1.0 + float(np.median(overheads or [0.0]))])
    at_macs = sorted(points)
    behind = np.interp(places[place], at_macs, [float(np.median(points[x])) for x in at_macs])
    ends = [0.0, *behind.tolist(), float(np.median(points[1.0]))]
    return tuple(max(share, 0.0) for share in np.diff(ends).tolist())


def _time(
    variant: StoredVariant,
    segments: Sequence[Segment],
    feeds: Mapping[str, np.ndarray],
    postprocess: Postprocess,
) -> _Timed:
    """Time the whole variant and its segments in turns."""
    options = SessionOptions(threads=1)
    sessions = [open_session(path, options) for path in (variant.path, *(s.path for s in segments))]
    try:
        inputs, crossing = [dict(feeds)], []
        carried = dict(feeds)
        for session, following in zip(sessions[1:], (*sessions[2:], None), strict=True):
            inputs.append({one.name: carried[one.name] for one in session.inputs})
            carried |= session.run(inputs[-1])
            if following is not None:
                crossing.append({one.name: carried[one.name] for one in following.inputs})
        answer = postprocess.apply({one.name: carried[one.name] for one in sessions[0].outputs})
        reply_bytes = sum(array.nbytes for array in answer.values()) + HEADER_BYTES
        seconds = _in_turns(sessions, inputs)
    finally:
        for session in sessions:
            session.close()
    shares = tuple(s / seconds[0] for s in seconds[1:])
    return _Timed(shares, tuple(crossing), reply_bytes)


def _in_turns(
    sessions: Sequence[Session], inputs: Sequence[Mapping[str, np.ndarray]]
) -> list[float]:
    """Median seconds of every session's inference."""
    times_s: list[list[float]] = [[] for _ in sessions]
    started_s = time.perf_counter()
    for run in range(_MOST_RUNS + 1):
        for session, feeds, times in zip(sessions, inputs, times_s, strict=True):
            before_s = time.perf_counter()
            session.run(feeds)
            if run:  # the first run allocates
                times.append(time.perf_counter() - before_s)
        if run >= _FEWEST_RUNS and time.perf_counter() - started_s > _RUNS_S:
            break
    return [float(np.median(times)) for times in times_s]
