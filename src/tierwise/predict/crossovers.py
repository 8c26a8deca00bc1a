"""Bandwidths at which another strategy becomes the best, exactly, from the latency model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """

    start_s: Float[np.ndarray, " s"]
    slope: Float[np.ndarray, " s"]
    rows: Int[np.ndarray, " s"]
    most_x: Float[np.ndarray, " s"]
    ids: tuple[str, ...]


def lines_along(  # noqa: PLR0917 - two of the place, three of what is asked
    model: LatencyModel,
    link: str,
    condition: NetworkCondition,
    eligible: Bool[np.ndarray, " s"],
    tail_s: Float[np.ndarray, " s"],
    most_s: float = np.inf,
) -> Lines:
    """The lines of the ``eligible`` strategies over the bandwidth of ``link``.

    Args:
        model: Fitted.
        link: What changes.
        condition: Everything else.
        eligible: Which strategies may be chosen, whatever their latency.
        tail_s: By how much the required percentile exceeds each median.
        most_s: The most that the percentile may be.
    """
    start_s, slope = model.along(link, condition)
    with np.errstate(divide="ignore", invalid="ignore"):
        room_s = most_s - tail_s - start_s
        most_x = np.where(slope > 0, room_s / slope, np.where(room_s >= 0, np.inf, -1.0))
    chosen = np.flatnonzero(eligible & np.isfinite(start_s) & ~np.isnan(most_x) & (most_x >= 0))
    return Lines(
        start_s[chosen],
        slope[chosen],
        chosen,
        most_x[chosen],
        tuple(model.strategies[i].id for i in chosen.tolist()),
    )


def find_crossovers(
    model: LatencyModel,
    lines: Lines,
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
        lines: From :func:`lines_along`.
        link: Its link.
        condition: Its condition.
        rates: Lowest and highest bandwidth to look at.
    """
    kept = not_beaten(lines)
    a, b, most = lines.start_s[kept], lines.slope[kept], lines.most_x[kept]
    low_x, high_x = 1 / rates[1], 1 / rates[0]
    first, second = np.triu_indices(len(kept), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = (a[second] - a[first]) / (b[first] - b[second])
    points = np.concatenate([meets, most])
    inside = np.unique(points[np.isfinite(points) & (points > low_x) & (points < high_x)])
    edges = [low_x, *inside.tolist(), high_x]
    best = [_best(a, b, most, (x + y) / 2) for x, y in pairwise(edges)]
    found = []
    # By falling x, which is by rising bandwidth.
    for x, near, far in zip(edges[1:-1], best[:-1], best[1:], strict=True):
        if near == far:
            continue
        sides = [kept[side] for side in (near, far) if side is not None]
        there = at_rate(condition, link, 1 / x)
        low, high = _interval(lines, sides, x, model.predict([there], drift=False))
        found.append(
            Crossover(
                link, 1 / x, low, high,
                None if far is None else lines.ids[kept[far]],
                None if near is None else lines.ids[kept[near]],
                condition,
            )
        )  # fmt: skip
    return tuple(found[::-1])


def fastest_at(lines: Lines, rate_bit_per_s: float) -> str | None:
    """Id of the fastest strategy at a bandwidth; ``None`` where none will do."""
    best = _best(lines.start_s, lines.slope, lines.most_x, 1 / rate_bit_per_s)
    return None if best is None else lines.ids[best]


def _best(a: np.ndarray, b: np.ndarray, most: np.ndarray, x: float) -> int | None:
    values = np.where(most >= x, a + b * x, np.inf)
    return int(np.argmin(values)) if len(values) and np.isfinite(values.min()) else None


def at_rate(condition: NetworkCondition, link: str, bit_per_s: float) -> NetworkCondition:
    """``condition`` with this bandwidth of ``link``."""
    shape = replace(condition.shapes[link], bandwidth_bit_per_s=bit_per_s)
    return NetworkCondition({**condition.shapes, link: shape})


def _interval(
    lines: Lines, sides: Sequence[int], x: float, there: Predictions
) -> tuple[float, float]:
    """Lowest and highest bandwidth at which the change of the lines ``sides`` at ``x`` may be."""
    half_s = (there.high_s - there.median_s)[:, 0][lines.rows[sides]]
    ended = [n for n, i in enumerate(sides) if np.isclose(lines.most_x[i], x, rtol=1e-9, atol=0)]
    if ended:
        off_s, slope = float(half_s[ended[0]]), float(lines.slope[sides[ended[0]]])
    else:
        off_s = float(np.sqrt(np.sum(half_s**2)))
        slope = abs(float(np.diff(lines.slope[sides])[0]))
    reach = off_s / slope
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
