"""What the network adds to a request, fitted to the transfers that a study measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tierwise.predict.traffic import Route
from tierwise.tiers.topology import NetworkCondition

# One round trip a hop and every bit once, at the link's rate: what holds where the study's
# conditions cannot tell an overhead from a round-trip time.
_PHYSICS = np.array([0.0, 1.0, 1.0])
# heuristic: how far a study may be from that, as standard deviations: milliseconds of overhead a
# hop; emulated round trips within 5%, and rates within 15% with TCP/IP's headers. Against them a
# measured median counts with 5%.
_PHYSICS_SPREAD = np.array([0.005, 0.05, 0.15])
_MEDIAN_SPREAD = 0.05


# Bytes of a crossing that a link may let through at once: a token bucket holds at least a packet
# (1,500 bytes), on each of the two ways.
BURSTS_BYTES = (0.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0)
# A burst must lower chi squared by this much (2 standard deviations) to be believed.
_BURST_WORTH = 4.0


@dataclass(frozen=True)
class NetworkFit:
    """Seconds = ``hop_s`` x hops + ``round_trips`` x rtt + ``stretch`` x bits / bandwidth.

    Of a route the rtt is the sum over its links, the bandwidth that of the slowest. Bits are those
    beyond the first ``burst_bytes`` of a crossing.

    Attributes:
        hop_s: Fixed overhead of a hop.
        round_trips: Round trips that a hop pays.
        stretch: Time of a bit over what the nominal rate says; 1 / efficiency.
        burst_bytes: What a link lets through at once.
        without: The three of a fit without each strategy.
        errors: Relative error of every measured transfer, by the fit without its strategy.
        elsewhere: The same, by the fit without its condition.
    """

    hop_s: float
    round_trips: float
    stretch: float
    burst_bytes: float
    without: Float[np.ndarray, "strategies 3"]
    errors: Float[np.ndarray, " trials"]
    elsewhere: Float[np.ndarray, " trials"]


def rtts_s(
    conditions: Sequence[NetworkCondition], routes: Sequence[Route]
) -> Float[np.ndarray, "c routes"]:
    """Round-trip time of every route under every condition: that of all its links together."""
    return np.array(
        [[sum(c.shapes[link].rtt_s for link in route) for route in routes] for c in conditions],
        dtype=float,
    ).reshape(len(conditions), len(routes))


def seconds_per_bit(
    conditions: Sequence[NetworkCondition], routes: Sequence[Route]
) -> Float[np.ndarray, "c routes"]:
    """1 / bandwidth of every route under every condition; 0 where it is unlimited.

    A message is sent packet by packet: while one is on the second link, the next is on the first
    one. The slowest link sets the pace, and the others add no more than a packet's time.
    """
    return np.array(
        [[max(_per_bit(c, link) for link in route) for route in routes] for c in conditions],
        dtype=float,
    ).reshape(len(conditions), len(routes))


def _per_bit(condition: NetworkCondition, link: str) -> float:
    rate = condition.shapes[link].bandwidth_bit_per_s
    return 0.0 if rate is None else 1 / rate


def choose_fit(fits: Sequence[tuple[NetworkFit, float]]) -> int:
    """Which of the fits with :data:`BURSTS_BYTES` to believe: the first, unless one is better.

    Args:
        fits: Each with its chi squared, as :func:`fit_network` returns them.
    """
    best = min(range(len(fits)), key=lambda index: fits[index][1])
    return best if fits[best][1] < fits[0][1] - _BURST_WORTH else 0


def fit_network(
    features: Float[np.ndarray, "trials 3"],
    measured_s: Float[np.ndarray, " trials"],
    strategy: Int[np.ndarray, " trials"],
    condition: Int[np.ndarray, " trials"],
    count: int,
    *,
    burst_bytes: float = 0.0,
) -> tuple[NetworkFit, float]:
    """Least squares of relative errors, drawn to physics as far as the data leave it open.

    Args:
        features: Hops, seconds of round trips, and bits / bandwidth of every measured trial.
        measured_s: Median seconds of its transfers, above 0.
        strategy: Which strategy it is of, from 0; each is left out once.
        condition: Under which condition it is, from 0; each is left out once.
        count: How many strategies there are.
        burst_bytes: What ``features`` left out of every crossing.

    Returns:
        The fit, and its chi squared with the distance from physics.
    """
    rows = features / measured_s[:, None] / _MEDIAN_SPREAD
    target = np.full(len(rows), 1 / _MEDIAN_SPREAD)
    inner = np.einsum("ni,nj->nij", rows, rows)
    prior = np.diag(_PHYSICS_SPREAD**-2.0)
    gram = prior + inner.sum(axis=0)
    right = prior @ _PHYSICS + rows.T @ target
    fitted = np.maximum(np.linalg.solve(gram, right), 0.0)
    terms = inner, rows * target[:, None]
    without = _left_out(gram, right, terms, strategy, count)
    conditions = int(condition.max(initial=-1)) + 1
    elsewhere = _left_out(gram, right, terms, condition, conditions)
    hop_s, round_trips, stretch = (float(value) for value in fitted)
    off = rows @ fitted - target
    chi_squared = float(off @ off + (fitted - _PHYSICS) @ prior @ (fitted - _PHYSICS))
    errors, away = (
        (features * fits[group]).sum(axis=1) / measured_s - 1
        for fits, group in ((without, strategy), (elsewhere, condition))
    )
    fit = NetworkFit(hop_s, round_trips, stretch, burst_bytes, without, errors, away)
    return fit, chi_squared


def _left_out(
    gram: Float[np.ndarray, "3 3"],
    right: Float[np.ndarray, "3"],
    terms: tuple[Float[np.ndarray, "trials 3 3"], Float[np.ndarray, "trials 3"]],
    group: Int[np.ndarray, " trials"],
    count: int,
) -> Float[np.ndarray, "count 3"]:
    """The solution without each group of trials, from the sums over all and each one's terms."""
    own_gram, own_right = np.zeros((count, 3, 3)), np.zeros((count, 3))
    np.add.at(own_gram, group, terms[0])
    np.add.at(own_right, group, terms[1])
    solved = np.linalg.solve(gram - own_gram, (right - own_right)[..., None])[..., 0]
    found: np.ndarray = np.maximum(solved, 0.0)
    return found
