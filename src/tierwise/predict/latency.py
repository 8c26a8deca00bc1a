"""The latency of every strategy under any network condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tierwise.operators.strategy import Strategy
from tierwise.predict.network import NetworkFit, rtts_s, seconds_per_bit
from tierwise.predict.traffic import Traffic
from tierwise.tiers.topology import NetworkCondition

COVERAGE = 0.95


@dataclass(frozen=True)
class Predictions:
    """Median latencies in seconds, one row a strategy, one column a condition.

    Rows of strategies that cannot be predicted are NaN.
    """

    low_s: Float[np.ndarray, "s c"]
    median_s: Float[np.ndarray, "s c"]
    high_s: Float[np.ndarray, "s c"]


@dataclass(frozen=True)
class Drift:
    """The machine under a condition that was measured, as a logarithm of how much slower it was.

    Attributes:
        log: Against its average.
        error: Of that, at :data:`COVERAGE`.
    """

    log: float
    error: float


@dataclass(frozen=True)
class LatencyModel:
    """Median latency = what is the strategy's own + what the network adds.

    Errors are relative and at :data:`COVERAGE`.

    Attributes:
        strategies: In the order of every array.
        links: Names of the links.
        own_s: Seconds without the network, on a machine as it was on average; NaN where nothing
            says.
        measured: Whether the strategy was measured under some condition.
        traffic: What every strategy sends over which route, beyond the fit's burst.
        network: What the network adds.
        anchor_s: What the network added where the strategy was measured, on an average by what
            each trial counts.
        own_error: Of each strategy's own part: of measuring it again (with the interval of its
            median), or of putting it together.
        drift: Of the machine, which is slower at one time than at another for all strategies
            alike, under every condition that was measured.
        drift_error: How far it may be from its average under a condition that was not.
        network_error: Of what the network adds.
        network_again: Of what it adds to a strategy that was measured, from one condition to the
            next.
        repeat_error: Of a measured strategy's own part, over all of them.
        unseen_error: Of an own part that is put together from other strategies'.
        errors: Of measured strategies, each predicted without its trials, as a share of what is
            its own; for reports and benchmarks.
    """

    strategies: tuple[Strategy, ...]
    links: tuple[str, ...]
    own_s: Float[np.ndarray, " s"]
    measured: Bool[np.ndarray, " s"]
    traffic: Traffic
    network: NetworkFit
    anchor_s: Float[np.ndarray, " s"]
    own_error: Float[np.ndarray, " s"]
    drift: Mapping[NetworkCondition, Drift]
    drift_error: float
    network_error: float
    network_again: float
    repeat_error: float
    unseen_error: float
    errors: Float[np.ndarray, " n"]

    def predict(self, conditions: Sequence[NetworkCondition], *, drift: bool = True) -> Predictions:
        """Every strategy under every condition; O(strategies x conditions x routes), vectorised.

        Under a condition that was measured, the machine is taken as it was there. The interval
        adds, as squares: the error of the strategy's own part; the drift of the machine, or the
        error of it where it was measured; and the error of the network, of all that it adds or,
        where the strategy was measured, of the *change* of what it adds since there and of how
        that differed from one condition to the next.

        Args:
            conditions: Where to predict.
            drift: Whether intervals allow for the machine's drift; it does not matter to which
                of several strategies is the fastest.
        """
        network_s = self._network_s(conditions)
        unknown = Drift(0.0, self.drift_error)
        known = [self.drift.get(condition, unknown) for condition in conditions]
        own_s = self.own_s[:, None] * np.exp([one.log for one in known])
        drifted = np.array([one.error if drift else 0.0 for one in known])
        since_s = np.where(self.measured, self.anchor_s, 0.0)[:, None]
        moved_s = self.network_error * np.abs(network_s - since_s)
        again_s = self.network_again * np.where(self.measured[:, None], network_s, 0.0)
        relative = self.own_error[:, None] ** 2 + drifted**2
        half_s = np.sqrt(relative * own_s**2 + moved_s**2 + again_s**2)
        median_s = own_s + network_s
        return Predictions(np.maximum(median_s - half_s, 0.0), median_s, median_s + half_s)

    def along(
        self, link: str, condition: NetworkCondition, x: float
    ) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
        """Median latency as a line in 1 / bandwidth of ``link``: seconds at 0, and its slope.

        Everything else is as in ``condition``. The line holds around ``x``, as far as the next of
        :meth:`bends`.
        """
        unlimited = condition.at_rate(link, None)
        routes = self.traffic.routes
        others = seconds_per_bit([unlimited], routes)[0]
        paced = np.array([link in route for route in routes], dtype=bool) & (others <= x)
        bits = 8 * self.network.stretch * self.traffic.wire_bytes
        rtt_s = self.traffic.crossings @ rtts_s([condition], routes)[0]
        start_s = self.own_s + self.network.round_trips * rtt_s + bits @ (others * ~paced)
        return start_s, bits @ paced

    def bends(self, link: str, condition: NetworkCondition) -> tuple[float, ...]:
        """Where lines over 1 / bandwidth of ``link`` bend: below, another link is slower."""
        with_it = [route for route in self.traffic.routes if link in route]
        others = seconds_per_bit([condition.at_rate(link, None)], with_it)[0]
        return tuple(sorted({x for x in others.tolist() if x > 0}))

    def _network_s(self, conditions: Sequence[NetworkCondition]) -> Float[np.ndarray, "s c"]:
        routes = self.traffic.routes
        rtt_s = self.traffic.crossings @ rtts_s(conditions, routes).T
        bits_s = 8 * (self.traffic.wire_bytes @ seconds_per_bit(conditions, routes).T)
        network_s: np.ndarray = self.network.round_trips * rtt_s + self.network.stretch * bits_s
        return network_s
