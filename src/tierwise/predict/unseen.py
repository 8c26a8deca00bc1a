"""What is a strategy's own where it was not measured: put together from what was."""

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
from jaxtyping import Float

from tierwise.operators.strategy import Strategy
from tierwise.predict.compute import ComputeSample, ComputeTable, Shares
from tierwise.predict.network import NetworkFit
from tierwise.predict.traffic import Traffic
from tierwise.store.results import TrialResult

# Trials of one strategy that its parts are taken from: those with the most samples.
_MOST_TRIALS = 2


class Unseen:
    """Predicts what is a strategy's own without its measurements."""

    def __init__(  # noqa: PLR0917 - called once, in this order
        self,
        strategies: tuple[Strategy, ...],
        tiers: Sequence[str],
        trials: Sequence[TrialResult],
        of: np.ndarray,
        slower: np.ndarray,
        traffic: Traffic,
        network: NetworkFit,
        shares: Shares,
    ) -> None:
        """Take what was measured.

        Args:
            strategies: All, measured or not.
            tiers: Names of the tiers.
            trials: That were measured.
            of: The strategy of each, from 0.
            slower: By which factor the machine was slower in each than on average.
            traffic: What every strategy sends.
            network: What the network adds.
            shares: As :class:`~tierwise.predict.compute.ComputeTable` takes them.
        """
        self._strategies = strategies
        self._traffic = traffic
        self._network = network
        per_strategy: dict[int, list[tuple[TrialResult, float]]] = {}
        for index, trial, factor in zip(of.tolist(), trials, slower.tolist(), strict=True):
            per_strategy.setdefault(index, []).append((trial, factor))
        self._parts = {i: _typical_parts(of_one) for i, of_one in per_strategy.items()}
        self._rest_s: dict[tuple[str, ...], list[tuple[int, float]]] = {}
        for i, parts in self._parts.items():
            self._rest_s.setdefault(strategies[i].tiers, []).append((i, _rest_s(parts)))
        samples = [
            ComputeSample(
                (strategies[i].variant, strategies[i].cuts, place),
                tier,
                parts[f"compute@{tier}"],
                i,
            )
            for i, parts in self._parts.items()
            for place, tier in enumerate(strategies[i].tiers)
            if f"compute@{tier}" in parts
        ]
        self._compute = ComputeTable(samples, tiers, shares)

    def own_s(self, index: int) -> float:
        """Seconds without the network of the strategy with this number; NaN: nothing says."""
        hops_s = self._network.hop_s * float(self._traffic.hops[index])
        return self._at_its_tiers_s(index) + hops_s

    def left_out(self) -> Float[np.ndarray, " s"]:
        """What is each measured strategy's own, predicted without its times; else NaN."""
        found = np.full(len(self._strategies), np.nan)
        for i in self._parts:
            hop_s = float(self._network.without[i, 0])
            found[i] = self._at_its_tiers_s(i) + hop_s * float(self._traffic.hops[i])
        return found

    def _at_its_tiers_s(self, index: int) -> float:
        strategy = self._strategies[index]
        compute_s = self._compute.predict_s(strategy, without=index)
        rest_s = self._likes_rest_s(index)
        if compute_s is None or rest_s is None or not self._traffic.known[index]:
            return float("nan")
        return compute_s + rest_s

    def _likes_rest_s(self, index: int) -> float | None:
        """The rest of strategies on the same tiers; else with the same first tier and as many."""
        tiers = self._strategies[index].tiers
        alike = [rest for i, rest in self._rest_s.get(tiers, ()) if i != index]
        if not alike:
            alike = [
                rest
                for others, of in self._rest_s.items()
                if (others[0], len(others)) == (tiers[0], len(tiers))
                for i, rest in of
                if i != index
            ]
        return median(alike) if alike else None


def _rest_s(parts: Mapping[str, float]) -> float:
    """Pre- and post-processing, codec, queues, client."""
    return sum(v for k, v in parts.items() if k.partition("@")[0] not in {"compute", "transfer"})


def _typical_parts(trials: Sequence[tuple[TrialResult, float]]) -> dict[str, float]:
    """Every part of a typical request, median over the trials of one strategy.

    As on an average machine.
    """
    found: dict[str, list[float]] = {}
    chosen = sorted(trials, key=lambda one: -len(one[0].latency_s))[:_MOST_TRIALS]
    for trial, slower in chosen:
        if trial.parts_s:
            for key, part_s in trial.typical_parts_s().items():
                found.setdefault(key, []).append(part_s / slower)
    return {key: median(values) for key, values in found.items()}
