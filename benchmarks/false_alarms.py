"""How often a study of identical strategies claims a difference, and how often it finds a true one.

python benchmarks/false_alarms.py [--studies 400] [--seed 0]

Every simulated study measures 100 strategies in randomised complete blocks, as `tierwise.measure`
does. The noise of a request is lognormal around the strategy's median and made of: a drift of the
machine over the study, a first-order autoregressive process over successive requests (a busy
neighbour stays busy), and independent noise. "own memory" adds to that, against the design's
assumption, an autoregressive process over blocks that each strategy has for itself.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import kruskal

from tierwise.measure.narrowing import Narrowing
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.sample import Block, Sample
from tierwise.stats.conover import conover
from tierwise.stats.corrections import holm
from tierwise.stats.median_interval import median_interval
from tierwise.stats.verdict import compare_with_best

STRATEGIES = 100
TRUE_DIFFERENCE = 0.05
MEDIAN_S = 0.040
PLAN = MeasurePlan()
# How a run chooses: contenders of one condition, and the looks that its claims are corrected for.
CONTENDERS, TESTS = 6, 8


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


NULLS = (
    Noise("quiet machine, drift 30%", machine=0.0),
    Noise("AR(1) 0.5 over requests, drift 30%", machine_correlation=0.5),
    Noise("AR(1) 0.9 over requests, drift 30%", machine_correlation=0.9),
    Noise("AR(1) 0.99 over requests, drift 30%", machine_correlation=0.99),
    Noise("own memory 0.3 over blocks", own=0.05, own_correlation=0.3),
    Noise("own memory 0.6 over blocks", own=0.05, own_correlation=0.6),
    Noise("own memory 0.9 over blocks", own=0.05, own_correlation=0.9),
    Noise("own memory 0.7, and nothing else", 0.0, 0.0, 0.0, 0.0, own=0.1, own_correlation=0.7),
)


def autoregressive(rng, n, series, correlation):
    """Stationary processes with standard deviation 1, shape ``(n, series)``."""
    values = np.empty((n, series))
    values[0] = rng.normal(size=series)
    shocks = rng.normal(size=(n, series)) * np.sqrt(1 - correlation**2)
    for i in range(1, n):
        values[i] = correlation * values[i - 1] + shocks[i]
    return values


def study(rng, noise, blocks, medians_s):
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
        by_strategy += noise.own * autoregressive(rng, blocks, k, noise.own_correlation)
    return medians_s * np.exp(by_strategy)


def planned_blocks(latencies_s):
    """How many of the blocks the default plan would have measured."""
    for blocks in range(PLAN.min_blocks, len(latencies_s), 5):
        widths = [
            median_interval(latencies_s[:blocks, i], PLAN.confidence).relative_width
            for i in range(latencies_s.shape[1])
        ]
        if max(widths) <= PLAN.target_relative_width:
            return blocks
    return len(latencies_s)


def share(count: int, of: int) -> str:
    return f"{count:4d} of {of} = {count / of:6.1%}"


def false_alarms(studies: int, seed: int, blocks: int) -> None:
    names = [str(i) for i in range(STRATEGIES)]
    medians_s = np.full(STRATEGIES, MEDIAN_S)
    print(f"\nNull: {STRATEGIES} identical strategies, {blocks} blocks, {studies} studies each")
    print(f"{'noise':40}{'any difference declared':>28}{'worth (blocks)':>16}")
    for number, noise in enumerate(NULLS):
        rng = np.random.default_rng([seed, blocks, number])
        alarms, worth = 0, []
        for _ in range(studies):
            verdict = compare_with_best(study(rng, noise, blocks, medians_s), names)
            alarms += verdict.any_difference
            worth.append(verdict.effective_blocks)
        print(f"{noise.name:40}{share(alarms, studies):>28}{np.median(worth):>16.0f}", flush=True)


def one_after_the_other(studies: int, seed: int, blocks: int) -> None:
    """The study's design for comparison: no interleaving, Kruskal-Wallis and Conover's test."""
    noise = NULLS[2]
    rng = np.random.default_rng([seed, blocks, 99])
    alarms = {"Kruskal-Wallis": 0, "Conover, Holm": 0}
    for _ in range(studies):
        requests = blocks * STRATEGIES
        log = noise.drift * np.cumsum(rng.normal(size=requests)) / np.sqrt(requests)
        log += noise.machine * autoregressive(rng, requests, 1, noise.machine_correlation)[:, 0]
        groups = list(log.reshape(STRATEGIES, blocks))
        alarms["Kruskal-Wallis"] += kruskal(*groups).pvalue < 0.05
        alarms["Conover, Holm"] += holm(np.array([p.p for p in conover(groups)])).min() < 0.05
    print("\nThe same machine, one strategy after the other (the study's design):")
    for name, count in alarms.items():
        print(f"{name:40}{share(count, studies):>28}")


def power(studies: int, seed: int) -> None:
    names = [str(i) for i in range(STRATEGIES)]
    medians_s = np.full(STRATEGIES, MEDIAN_S)
    medians_s[0] *= 1 - TRUE_DIFFERENCE
    print(
        f"\nPower: one of {STRATEGIES} strategies is {TRUE_DIFFERENCE:.0%} faster; default plan "
        f"({PLAN.min_blocks}-{PLAN.max_blocks} blocks, width {PLAN.target_relative_width:.0%}), "
        f"{studies} studies each"
    )
    print(f"{'noise':40}{'blocks':>8}{'best found':>12}{'beats all 99':>14}{'beats each':>12}")
    for number, noise in enumerate(NULLS[:6]):
        rng = np.random.default_rng([seed, 7, number])
        found = all_beaten = 0
        beaten, blocks = [], []
        for _ in range(studies):
            latencies_s = study(rng, noise, PLAN.max_blocks, medians_s)
            blocks.append(planned_blocks(latencies_s))
            verdict = compare_with_best(latencies_s[: blocks[-1]], names)
            slower = sum(rank.really_slower for rank in verdict.ranks[1:])
            right = verdict.best.name == "0"
            found += right
            all_beaten += right and slower == STRATEGIES - 1
            beaten.append(slower / (STRATEGIES - 1) if right else 0.0)
        print(
            f"{noise.name:40}{np.median(blocks):>8.0f}{found / studies:>12.0%}"
            f"{all_beaten / studies:>14.0%}{np.mean(beaten):>12.1%}",
            flush=True,
        )


def narrowed(studies: int, seed: int) -> None:
    """The plan that `tierwise run` follows: it looks, leaves out what is slower, and goes on."""
    names = [str(i) for i in range(CONTENDERS)]
    looks = tuple(PLAN.min_blocks * 2**i for i in range(4))
    print(
        f"\nNull, looked at after {', '.join(map(str, looks))} blocks: {CONTENDERS} identical "
        f"contenders, claims corrected for {TESTS} looks, {studies} studies each"
    )
    print(f"{'noise':40}{'any claim at any look':>28}{'blocks':>10}")
    for number, noise in enumerate(NULLS):
        rng = np.random.default_rng([seed, 11, number])
        alarms, blocks = 0, []
        for _ in range(studies):
            latencies_s = study(rng, noise, looks[-1], np.full(CONTENDERS, MEDIAN_S))
            claimed, count = narrowed_claim(latencies_s, names, looks)
            alarms += claimed
            blocks.append(count)
        print(f"{noise.name:40}{share(alarms, studies):>28}{np.median(blocks):>10.0f}", flush=True)


def narrowed_claim(latencies_s, names, looks) -> tuple[bool, int]:
    """Whether anything was called slower at any look, and after how many blocks it ended."""
    narrowing = Narrowing(names, looks, tests=TESTS)
    finished: set[str] = set()
    for number, row in enumerate(latencies_s):
        live = [name for name in names if name not in finished]
        samples = tuple(
            Sample(name, number, 0, float(row[int(name)]), {}, {}, float(number)) for name in live
        )
        look = narrowing.add(Block(number, 0, tuple(live), samples))
        if look is not None:
            finished |= look.finished
            if look.enough or look.last:
                break
    return bool(finished), number + 1


def timed(part: Callable[[], None]) -> None:
    started_s = time.perf_counter()
    part()
    print(f"({time.perf_counter() - started_s:.0f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    for blocks in (PLAN.min_blocks, 100):
        timed(lambda blocks=blocks: false_alarms(asked.studies, asked.seed, blocks))
    timed(lambda: narrowed(asked.studies, asked.seed))
    timed(lambda: one_after_the_other(max(20, asked.studies // 8), asked.seed, 30))
    timed(lambda: power(max(20, asked.studies // 8), asked.seed))


if __name__ == "__main__":
    main()
