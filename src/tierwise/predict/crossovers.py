"""Bandwidths at which another strategy becomes the best, exactly, from the latency model."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from tierwise.predict.latency import LatencyModel, Predictions
from tierwise.tiers.topology import NetworkCondition


@dataclass(frozen=True)
class Crossover:
    """A bandwidth of one link at which the best strategy changes.

    Attributes:
        link: Name of the link.
        bandwidth_bit_per_s: Where it changes.
        low_bit_per_s: Lower end of its interval; 0 where there is none.
        high_bit_per_s: Upper end; ``inf`` where there is none.
        below: Id of the best strategy just below, ``None`` where none will do.
        above: The same, just above.
        condition: The shapes of the other links, and the round-trip time of this one.
    """

    link: str
    bandwidth_bit_per_s: float
    low_bit_per_s: float
    high_bit_per_s: float
    below: str | None
    above: str | None
    condition: NetworkCondition


@dataclass(frozen=True)
class Lines:
    """Latency of strategies as lines in x = 1 / bandwidth: ``start_s + slope * x``.

    Attributes:
        start_s: Seconds at unlimited bandwidth, finite.
        slope: Bits of effective size, at least 0.
        rows: Of each in the model.
        most_x: Beyond which 1 / bandwidth the strategy misses the latency requirement; ``inf``:
            never, below 0: always.
        ids: Of the strategies.
        from_x: The lines hold from here on; below, another link than this one sets the pace.
        to_x: And up to here.
    """

    start_s: Float[np.ndarray, " s"]
    slope: Float[np.ndarray, " s"]
    rows: Int[np.ndarray, " s"]
    most_x: Float[np.ndarray, " s"]
    ids: tuple[str, ...]
    from_x: float = 0.0
    to_x: float = np.inf


def lines_along(  # noqa: PLR0917 - two of the place, three of what is asked
    model: LatencyModel,
    link: str,
    condition: NetworkCondition,
    eligible: Bool[np.ndarray, " s"],
    tail_s: Float[np.ndarray, " s"],
    most_s: float = np.inf,
) -> tuple[Lines, ...]:
    """The lines of the ``eligible`` strategies over the bandwidth of ``link``, by rising x.

    Args:
        model: Fitted.
        link: What changes.
        condition: Everything else.
        eligible: Which strategies may be chosen, whatever their latency.
        tail_s: By how much the required percentile exceeds each median.
        most_s: The most that the percentile may be.

    Returns:
        One set of lines for each range of x in which the same link is the slowest of every route.
    """
    edges = (0.0, *model.bends(link, condition), np.inf)
    found = []
    for from_x, to_x in pairwise(edges):
        start_s, slope = model.along(link, condition, from_x)
        with np.errstate(divide="ignore", invalid="ignore"):
            room_s = most_s - tail_s - start_s
            most_x = np.where(slope > 0, room_s / slope, np.where(room_s >= 0, np.inf, -1.0))
        chosen = np.flatnonzero(eligible & np.isfinite(start_s) & ~np.isnan(most_x) & (most_x >= 0))
        ids = tuple(model.strategies[i].id for i in chosen.tolist())
        found.append(
            Lines(start_s[chosen], slope[chosen], chosen, most_x[chosen], ids, from_x, to_x)
        )
    return tuple(found)


def find_crossovers(
    model: LatencyModel,
    pieces: Sequence[Lines],
    link: str,
    condition: NetworkCondition,
    rates: tuple[float, float],
) -> tuple[Crossover, ...]:
    """Every change of the fastest strategy between two bandwidths, lowest first.

    The fastest is the lower envelope of the lines; it changes where two lines meet or where one
    stops meeting the requirement. Solved for, not searched. The interval of a meeting point moves
    one line against the other by both half intervals, added as squares, without the machine's
    drift, which moves both alike.

    Args:
        model: Fitted; says how far each line may be off.
        pieces: From :func:`lines_along`.
        link: Its link.
        condition: Its condition.
        rates: Lowest and highest bandwidth to look at.
    """
    low_x, high_x = 1 / rates[1], 1 / rates[0]
    best = [
        one
        for lines in pieces
        if lines.from_x < high_x and lines.to_x > low_x
        for one in _fastest(lines, max(low_x, lines.from_x), min(high_x, lines.to_x))
    ]
    found = []
    # By falling x, which is by rising bandwidth. Where one set of lines ends, the next one begins
    # with the same latencies, and so with the same best but for ties.
    for (near, lines, _, x), (far, further, *_) in reversed([*pairwise(best)]):
        below = None if far is None else further.ids[far]
        above = None if near is None else lines.ids[near]
        if below == above:
            continue
        sides = [lines.ids.index(one) for one in (above, below) if one in lines.ids]
        there = model.predict([condition.at_rate(link, 1 / x)], drift=False)
        low, high = _interval(lines, sides, x, there)
        found.append(Crossover(link, 1 / x, low, high, below, above, condition))
    return tuple(found)


def _fastest(
    lines: Lines, low_x: float, high_x: float
) -> list[tuple[int | None, Lines, float, float]]:
    """The fastest line of every range of x in which it is the same one, and the range."""
    kept = not_beaten(lines)
    a, b, most = lines.start_s[kept], lines.slope[kept], lines.most_x[kept]
    first, second = np.triu_indices(len(kept), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = (a[second] - a[first]) / (b[first] - b[second])
    points = np.concatenate([meets, most])
    inside = np.unique(points[np.isfinite(points) & (points > low_x) & (points < high_x)])
    found = []
    for x, y in pairwise([low_x, *inside.tolist(), high_x]):
        best = _best(a, b, most, (x + y) / 2)
        found.append((None if best is None else kept[best], lines, x, y))
    return found


def _best(a: np.ndarray, b: np.ndarray, most: np.ndarray, x: float) -> int | None:
    values = np.where(most >= x, a + b * x, np.inf)
    return int(np.argmin(values)) if len(values) and np.isfinite(values.min()) else None


def _interval(
    lines: Lines, sides: Sequence[int], x: float, there: Predictions
) -> tuple[float, float]:
    """Lowest and highest bandwidth at which the change of the lines ``sides`` at ``x`` may be."""
    half_s = (there.high_s - there.median_s)[:, 0][lines.rows[sides]]
    ended = [n for n, i in enumerate(sides) if np.isclose(lines.most_x[i], x, rtol=1e-9, atol=0)]
    if ended or len(sides) < 2:
        at = ended[0] if ended else 0
        off_s, slope = float(half_s[at]), float(lines.slope[sides[at]])
    else:
        off_s = float(np.sqrt(np.sum(half_s**2)))
        slope = abs(float(np.diff(lines.slope[sides])[0]))
    reach = off_s / slope if slope else np.inf
    return 1 / (x + reach), np.inf if x <= reach else 1 / (x - reach)


def not_beaten(lines: Lines) -> list[int]:
    """Lines that no other is below at every bandwidth; of equal ones, the first."""
    kept: list[int] = []
    for i in np.lexsort((-lines.most_x, lines.slope, lines.start_s)).tolist():
        beaten = (
            (lines.start_s[kept] <= lines.start_s[i])
            & (lines.slope[kept] <= lines.slope[i])
            & (lines.most_x[kept] >= lines.most_x[i])
        )
        if not beaten.any():
            kept.append(i)
    return kept
