"""What to measure: what could be the best as far as is predicted, baselines, and a few checks."""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tierwise.operators.strategy import Operator, Strategy
from tierwise.predict.fit import fit_latency_model
from tierwise.recommend.requirement import Requirement
from tierwise.stats.equivalence import MARGIN
from tierwise.store.results import Chosen, StudyResults, TrialState
from tierwise.study.settled import settled_elsewhere
from tierwise.tiers.topology import NetworkCondition

# heuristic: one strategy in twelve over the study, and one at least under each condition, tells
# whether predictions hold where nothing was going to be measured.
_CHECKED_SHARE = 1 / 12
# heuristic: where a strategy is so far behind, it does not matter by how much; one that sends
# megabytes over a slow link would take as long to check as all others to measure.
_CHECKED_WITHIN = 4.0


@dataclass(frozen=True)
class Candidates:
    """The strategies of a study, and which of them may be recommended.

    Attributes:
        strategies: All that can be deployed.
        eligible: Ids of those whose loss and memory meet the requirement; of all where none does.
    """

    strategies: tuple[Strategy, ...]
    eligible: frozenset[str]


def find_candidates(results: StudyResults, strategies: Sequence[Strategy]) -> Candidates:
    """Which of the deployable ``strategies`` may be recommended, by what is known already."""
    asked = Requirement.from_mapping(results.requirement)
    held: dict[str, int] = {}
    for trial in results.trials:
        if trial.memory_bytes:
            held[trial.strategy.id] = max(trial.memory_bytes.values())
    fit = frozenset(
        s.id for s in strategies if _may_be_recommended(s, results, asked, held.get(s.id))
    )
    return Candidates(tuple(strategies), fit or frozenset(s.id for s in strategies))


def _may_be_recommended(
    strategy: Strategy, results: StudyResults, asked: Requirement, memory_bytes: int | None
) -> bool:
    quality = results.quality_of(strategy)
    loses = quality is None or (asked.max_loss is not None and quality.loss > asked.max_loss + 1e-9)
    if asked.max_loss is not None and loses:
        return False
    if asked.max_memory_bytes is None or memory_bytes is None:
        return True
    return memory_bytes <= asked.max_memory_bytes


def choose_first(
    results: StudyResults, candidates: Candidates, condition: NetworkCondition, seed: int
) -> dict[str, Chosen]:
    """What to measure under ``condition``, by strategy id and with the reason.

    A contender is whose predicted interval begins below the least upper end of all, and 3% above
    it: what is equivalent may be preferred for being simpler. So are strategies of which nothing
    can be predicted. Contenders that another condition settled are left out
    (:mod:`tierwise.study.settled`). A baseline is the model as it is where it could be the fastest,
    by the same rule.

    Args:
        results: With the profile, and what was measured under other conditions.
        candidates: From :func:`find_candidates`.
        condition: What they are measured under.
        seed: Of the draw of checks.
    """
    low_s, median_s, high_s = _predicted(results, condition)
    eligible = [s for s in candidates.strategies if s.id in candidates.eligible]
    plain = [s for s in candidates.strategies if s.operator is Operator.I]
    contenders = _could_be_best(eligible, low_s, high_s)
    settled = settled_elsewhere(results, condition, contenders)
    chosen = dict.fromkeys(_could_be_best(plain, low_s, high_s), Chosen.BASELINE)
    chosen |= {id_: Chosen.CONTENDER for id_ in contenders if id_ not in settled}
    rest = [s.id for s in candidates.strategies if s.id not in chosen and s.id not in settled]
    best_s = min((median_s[s.id] for s in eligible if s.id in median_s), default=np.inf)
    plausible = [id_ for id_ in rest if median_s.get(id_, 0.0) <= _CHECKED_WITHIN * best_s]
    share = _CHECKED_SHARE / len(results.conditions)
    count = max(1, round(share * len(candidates.strategies)))
    draw = np.random.default_rng([seed, zlib.crc32(condition.id.encode())])
    pool = plausible or rest
    for place in draw.permutation(len(pool))[:count].tolist():
        chosen[pool[place]] = Chosen.CHECK
    return chosen


def _could_be_best(
    strategies: Sequence[Strategy], low_s: Mapping[str, float], high_s: Mapping[str, float]
) -> list[str]:
    """Ids of those whose interval begins below the least upper end of all, or within 3% of it."""
    reach_s = min((high_s[s.id] for s in strategies if s.id in high_s), default=np.inf)
    return [s.id for s in strategies if low_s.get(s.id, 0.0) <= reach_s * (1 + MARGIN)]


def choose_more(
    results: StudyResults,
    candidates: Candidates,
    condition: NetworkCondition,
    open_: Collection[str],
) -> dict[str, Chosen]:
    """What else could be the best under ``condition``, now that some of it is measured.

    Args:
        results: With what was measured there.
        candidates: From :func:`find_candidates`.
        condition: The condition.
        open_: Ids of the contenders that were not shown to be slower than the best.

    Returns:
        New contenders and, with them, those that are ``open_``; empty where there is none.
    """
    here = {t.strategy.id: t for t in results.trials if t.condition == condition}
    asked = Requirement.from_mapping(results.requirement)
    measured_s = {
        id_: float(np.median(trial.latency_s))
        for id_, trial in here.items()
        if trial.state is TrialState.MEASURED and len(trial.latency_s)
    }
    meeting = [
        s
        for id_, s in measured_s.items()
        if id_ in candidates.eligible and _keeps_limit(here[id_].latency_s, asked)
    ]
    low_s, _, high_s = _predicted(results, condition)
    left = [
        s.id
        for s in candidates.strategies
        if s.id in candidates.eligible and s.id not in measured_s
        and here[s.id].state is not TrialState.FAILED
    ]  # fmt: skip
    # Where nothing that was measured keeps the limit, the next best ones may.
    reach_s = min(meeting, default=min((high_s[i] for i in left if i in high_s), default=np.inf))
    if not meeting and asked.latency_s is not None:
        reach_s = min(reach_s, asked.latency_s)
    new = [id_ for id_ in left if id_ not in low_s or low_s[id_] <= reach_s * (1 + MARGIN)]
    settled = settled_elsewhere(results, condition, {*new, *open_})
    new = [id_ for id_ in new if id_ not in settled]
    return dict.fromkeys([*new, *open_] if new else [], Chosen.CONTENDER)


def _keeps_limit(latency_s: np.ndarray, asked: Requirement) -> bool:
    if asked.latency_s is None or asked.percentile is None:
        return True
    return float(np.quantile(latency_s, asked.percentile / 100)) <= asked.latency_s


def _predicted(
    results: StudyResults, condition: NetworkCondition
) -> tuple[Mapping[str, float], Mapping[str, float], Mapping[str, float]]:
    """By strategy id, low, median and high; without those that cannot be predicted."""
    if not results.profile and all(t.state is not TrialState.MEASURED for t in results.trials):
        return {}, {}, {}
    model = fit_latency_model(results)
    found = model.predict([condition], drift=False)
    ids = [strategy.id for strategy in model.strategies]
    known = np.isfinite(found.median_s[:, 0])
    return tuple(  # type: ignore[return-value]
        {id_: float(value) for id_, value, there in zip(ids, of[:, 0], known, strict=True) if there}
        for of in (found.low_s, found.median_s, found.high_s)
    )


def probes(strategies: Sequence[Strategy]) -> tuple[Strategy, ...]:
    """Which strategies to profile: whole variants everywhere, and each as head and tail.

    All without cuts; of those with cuts as few as have every variant's first, middle and last
    segment run on every tier that it can run on (greedily).
    """
    wholes = [s for s in strategies if not s.cuts]
    cut = [s for s in strategies if s.cuts]
    missing = {role for s in cut for role in _roles(s)}
    picked = []
    while missing:
        best = max(cut, key=lambda s: len(missing & _roles(s)))
        picked.append(best)
        missing -= _roles(best)
    return tuple(wholes + picked)


def _roles(strategy: Strategy) -> set[tuple[str, str, str]]:
    """The places of its segments: variant, tier and whether it is first, middle or last."""
    last = len(strategy.tiers) - 1
    return {
        (strategy.variant, tier, "first" if place == 0 else "last" if place == last else "middle")
        for place, tier in enumerate(strategy.tiers)
    }
