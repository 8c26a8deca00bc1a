"""How often a study of identical strategies claims a difference, and how often it finds a true one.

python benchmarks/false_alarms.py [--studies 100] [--seed 0] [--plans all,few]

Every simulated study has 100 strategies, measured in randomised complete blocks and looked at as
`tierwise run` plans it, by the same code (`tierwise.study.rounds.planned_looks`,
`tierwise.measure.narrowing`, `tierwise.recommend.ties`). A claim is whatever a look leaves out as
slower, or the verdict at the end calls slower. Plans:

- all: `measure: all`, every strategy in 30 blocks, one test at the end.
- all 8: the same for a study of 8 strategies.
- looks: all 100 could be the best, so that no later round finds another; looked at after 30, 60,
  120 and 240 blocks.
- rounds: 24 could be the best and 12 are baselines and checks; 12 more join in a second round and 6
  in a third, whatever was seen. The others would be predicted and cannot be claimed about.
- few: the same with 4 that could be the best, then 2, then 1.

The noise of a request is lognormal around the strategy's median and made of: a drift of the
machine over the study, a first-order autoregressive process over successive requests (a busy
neighbour stays busy), and independent noise. "own memory" adds to that, against the design's
assumption, an autoregressive process over blocks that each strategy has for itself, or only some.
The last row of the table goes beyond what any test can tell: a memory that outlasts the study.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter
from scipy.stats import kruskal

from tierwise.measure.narrowing import Look, Narrowing
from tierwise.measure.sample import Block
from tierwise.operators.strategy import Operator, Strategy
from tierwise.recommend.ties import fastest_and_rivals
from tierwise.stats.conover import conover
from tierwise.stats.corrections import holm
from tierwise.stats.kruskal import pool_ranks
from tierwise.store.results import TrialResult, TrialState
from tierwise.study.rounds import LOOKS, in_sweep, planned_looks
from tierwise.study.sections.measuring import MeasureSpec
from tierwise.tiers.topology import NetworkCondition

STRATEGIES = [Strategy(Operator.I, "I", (f"tier{i}",)) for i in range(100)]
NAMES = [strategy.id for strategy in STRATEGIES]
HERE = NetworkCondition({})
TRUE_DIFFERENCE = 0.05
MEDIAN_S = 0.040
MEASURE = in_sweep(MeasureSpec(), conditions=1)
# The most blocks that rounds can take: the first round's last look, and both later rounds'.
MOST_BLOCKS = (8 + 2 + 2) * MEASURE.samples


@dataclass(frozen=True)
class Noise:
    """Standard deviations of log latency, and correlations."""

    name: str
    independent: float = 0.05
    machine: float = 0.10
    machine_correlation: float = 0.9
    drift: float = 0.3
    own: float = 0.0
    own_correlation: float = 0.0
    own_every: int = 1


NOISES = (
    Noise("quiet machine, drift 30%", machine=0.0),
    Noise("AR(1) 0.5 over requests, drift 30%", machine_correlation=0.5),
    Noise("AR(1) 0.9 over requests, drift 30%", machine_correlation=0.9),
    Noise("AR(1) 0.99 over requests, drift 30%", machine_correlation=0.99),
    Noise("own memory 0.3 over blocks", own=0.05, own_correlation=0.3),
    Noise("own memory 0.6 over blocks", own=0.05, own_correlation=0.6),
    Noise("own memory 0.9 over blocks", own=0.05, own_correlation=0.9),
    Noise("own memory 0.7, and nothing else", 0.0, 0.0, 0.0, 0.0, own=0.1, own_correlation=0.7),
    Noise("own memory 0.9 of every 4th", 0.05, 0.0, own=0.05, own_correlation=0.9, own_every=4),
    Noise("own memory 0.9 of every 12th", 0.05, 0.0, own=0.05, own_correlation=0.9, own_every=12),
)
# What outlasts the study is a difference as far as the study can see.
LONG = Noise("own memory 0.99, faint", own=0.02, own_correlation=0.99)


@dataclass(frozen=True)
class Plan:
    """Who is measured when.

    Attributes:
        name: Of the table's column.
        strategies: How many there are.
        contenders: How many could be the best, for the first round and those that follow; empty:
            everything is measured and tested once.
        others: Baselines and checks of the first round.
    """

    name: str
    strategies: int = len(NAMES)
    contenders: tuple[int, ...] = ()
    others: int = 0

    def rivals(self) -> set[str]:
        """All that could be the best but the first, in the order in which :func:`measure` asks."""
        if not self.contenders:
            return set(NAMES[1 : self.strategies])
        first, *later = self.contenders
        joining = first + self.others
        return set(NAMES[1:first]) | set(NAMES[joining : joining + sum(later)])


class Visit(NamedTuple):
    """What narrowing reads of a sample."""

    trial: str
    block: int
    latency_s: float


PLANS = (
    Plan("all"),
    Plan("all 8", 8),
    Plan("looks", contenders=(100,)),
    Plan("rounds", contenders=(24, 12, 6), others=12),
    Plan("few", contenders=(4, 2, 1), others=12),
)


@dataclass(frozen=True)
class Found:
    """What a simulated study says: the fastest, who is called slower, and blocks measured."""

    best: str
    slower: frozenset[str]
    blocks: int


def autoregressive(rng, n, series, correlation):
    """Stationary processes with standard deviation 1, shape ``(n, series)``."""
    shocks = rng.normal(size=(n, series)) * np.sqrt(1 - correlation**2)
    shocks[0] /= np.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], shocks, axis=0)


def simulate(rng, noise, blocks, medians_s):
    """Latencies of one study, shape ``(blocks, strategies)``, in random order within blocks."""
    k = len(medians_s)
    requests = blocks * k
    trend = np.cumsum(rng.normal(size=requests)) / np.sqrt(requests)
    log = noise.drift * trend + noise.independent * rng.normal(size=requests)
    if noise.machine:
        log += noise.machine * autoregressive(rng, requests, 1, noise.machine_correlation)[:, 0]
    order = np.argsort(rng.random((blocks, k)), axis=1)
    by_strategy = np.empty((blocks, k))
    np.put_along_axis(by_strategy, order, log.reshape(blocks, k), axis=1)
    if noise.own:
        memories = autoregressive(rng, blocks, k, noise.own_correlation)
        memories[:, np.arange(k) % noise.own_every > 0] = 0.0
        by_strategy += noise.own * memories
    return medians_s * np.exp(by_strategy)


def measure(plan: Plan, latencies_s) -> Found:
    """Follow ``plan`` through the blocks that there could be."""
    if not plan.contenders:
        blocks = range(MEASURE.samples)
        return verdict(latencies_s, dict.fromkeys(range(plan.strategies), blocks), {}, 1)
    measured: dict[int, list[int]] = {}
    history: list[Block] = []
    contenders: dict[int, int] = {}
    slower: set[str] = set()
    for place, count in enumerate(plan.contenders):
        new = range(len(measured), len(measured) + count)
        contenders |= dict.fromkeys(new, place)
        open_ = [i for i in contenders if NAMES[i] not in slower]
        live = [*open_, *range(new.stop, new.stop + plan.others * (place == 0))]
        need = max(MEASURE.samples - len(measured.get(i, ())) for i in live)
        looks = planned_looks(MEASURE, place, first=len(history), need=max(0, need))
        narrowing = Narrowing(by_name(contenders), looks, tests=sum(LOOKS))
        for block in history:
            narrowing.add(block)
        done = False
        while not done:
            number = len(history)
            row = latencies_s[number].tolist()
            samples = tuple(Visit(NAMES[i], number, row[i]) for i in live)
            history.append(Block(number, 0, tuple(NAMES[i] for i in live), samples))
            for i in live:
                measured.setdefault(i, []).append(number)
            look = narrowing.add(history[-1])
            if look is not None:
                slower |= claimed(narrowing, look, contenders)
                live = [i for i in live if NAMES[i] not in look.finished]
                done = look.enough or look.last
    found = verdict(latencies_s, measured, by_name(contenders), sum(LOOKS))
    return Found(found.best, found.slower | slower, len(history))


def by_name(contenders: dict[int, int]) -> dict[str, int]:
    return {NAMES[i]: place for i, place in contenders.items()}


def claimed(narrowing: Narrowing, look: Look, contenders: dict[int, int]) -> set[str]:
    """Who was left out for being slower, and not because more blocks would not tell."""
    finished = look.finished & {NAMES[i] for i in contenders}
    if not finished:
        return set()
    standings = narrowing.standings()
    return {n for n in finished if standings[n].not_the_best}


def verdict(latencies_s, measured, contenders, looks) -> Found:
    """What `tierwise recommend` says of the blocks that were ``measured`` of each strategy."""
    trials = [
        TrialResult(
            STRATEGIES[i],
            HERE,
            TrialState.MEASURED,
            latency_s=latencies_s[blocks, i],
            block=np.array(blocks),
        )
        for i, blocks in measured.items()
    ]
    trials.sort(key=lambda trial: float(np.median(trial.latency_s)))
    best, rivals = fastest_and_rivals(trials, looks, contenders)
    slower = frozenset(name for name, rival in rivals.items() if rival.standing.not_the_best)
    return Found(best, slower, max(len(blocks) for blocks in measured.values()))


def false_alarms(studies: int, seed: int, plans: Sequence[Plan]) -> None:
    print("\nNull: identical strategies; studies that claim any difference")
    print(f"{'noise':38}" + "".join(f"{plan.name:>12}" for plan in plans))
    for number, noise in enumerate((*NOISES, LONG)):
        cells = []
        for plan in plans:
            rng = np.random.default_rng([seed, number, PLANS.index(plan)])
            medians_s = np.full(plan.strategies, MEDIAN_S)
            alarms = sum(
                bool(measure(plan, simulate(rng, noise, MOST_BLOCKS, medians_s)).slower)
                for _ in range(studies)
            )
            cells.append(f"{alarms} of {studies}")
        print(f"{noise.name:38}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


def one_after_the_other(studies: int, seed: int) -> None:
    """The study's design for comparison: no interleaving, Kruskal-Wallis and Conover's test."""
    noise, blocks = NOISES[2], MEASURE.samples
    rng = np.random.default_rng([seed, 99])
    alarms = {"Kruskal-Wallis": 0, "Conover, Holm": 0}
    for _ in range(studies):
        requests = blocks * len(NAMES)
        log = noise.drift * np.cumsum(rng.normal(size=requests)) / np.sqrt(requests)
        log += noise.machine * autoregressive(rng, requests, 1, noise.machine_correlation)[:, 0]
        groups = list(log.reshape(len(NAMES), blocks))
        alarms["Kruskal-Wallis"] += kruskal(*groups).pvalue < 0.05
        alarms["Conover, Holm"] += (
            holm(np.array([p.p for p in conover(pool_ranks(groups))])).min() < 0.05
        )
    print(f"\n{noise.name}, one strategy after the other (the study's design):")
    for name, count in alarms.items():
        print(f"{name:38}{f'{count} of {studies}':>16}")


def power(studies: int, seed: int, plans: Sequence[Plan]) -> None:
    print(
        f"\nPower: one of the strategies is {TRUE_DIFFERENCE:.0%} faster, {studies} "
        "studies each; of the other contenders, the share that it is shown to beat"
    )
    print(f"{'noise':38}{'plan':>8}{'blocks':>8}{'found':>8}{'beats all':>11}{'beats each':>12}")
    for number, noise in enumerate(NOISES):
        for plan in plans:
            rng = np.random.default_rng([seed, 7, number, PLANS.index(plan)])
            rivals = plan.rivals()
            medians_s = np.full(plan.strategies, MEDIAN_S)
            medians_s[0] *= 1 - TRUE_DIFFERENCE
            studied = [
                measure(plan, simulate(rng, noise, MOST_BLOCKS, medians_s)) for _ in range(studies)
            ]
            right = [one for one in studied if one.best == NAMES[0]]
            all_beaten = sum(rivals <= one.slower for one in right)
            beaten = sum(len(rivals & one.slower) for one in right) / (len(rivals) * studies)
            print(
                f"{noise.name:38}{plan.name:>8}{np.median([one.blocks for one in studied]):>8.0f}"
                f"{len(right) / studies:>8.0%}{all_beaten / studies:>11.0%}{beaten:>12.1%}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plans", type=lambda text: text.split(","), help="of these alone")
    asked = parser.parse_args()
    plans = [plan for plan in PLANS if asked.plans is None or plan.name in asked.plans]
    looks = planned_looks(MEASURE, 0, first=0, need=MEASURE.samples)
    print(
        f"seed {asked.seed}, {asked.studies} studies; looks of the first round after "
        f"{', '.join(map(str, looks))} blocks, claims corrected for {sum(LOOKS)} looks"
    )
    started_s = time.process_time()
    false_alarms(asked.studies, asked.seed, plans)
    print(f"({time.process_time() - started_s:.0f} s of CPU)")
    one_after_the_other(max(20, asked.studies // 5), asked.seed)
    power(max(20, asked.studies // 5), asked.seed, plans)
    print(f"({time.process_time() - started_s:.0f} s of CPU in all)")


if __name__ == "__main__":
    main()
