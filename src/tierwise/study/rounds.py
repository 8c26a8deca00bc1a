"""Measure what prediction leaves open, round by round; every decision is stored before it is used.

A study that was killed goes on with the rounds that were decided, so it ends with the same trials.
"""

import json
from collections import Counter
from collections.abc import Sequence

from tierwise.measure.narrowing import Narrowing
from tierwise.measure.plan import MeasurePlan
from tierwise.operators.strategy import Strategy
from tierwise.predict.fit import fit_latency_model
from tierwise.recommend.latency import samples_needed
from tierwise.recommend.requirement import Requirement
from tierwise.store.results import Chosen, Round, StudyResults, TrialState, contenders_of
from tierwise.store.write import StudyStore
from tierwise.study.choosing import (
    Candidates,
    choose_first,
    choose_more,
    find_candidates,
    probes,
)
from tierwise.study.conditions import Measuring
from tierwise.study.estimate import PROFILE_REQUESTS
from tierwise.study.file import StudyFile
from tierwise.study.sections.measuring import MeasureSpec
from tierwise.study.segment_costs import measure_segment_costs
from tierwise.study.starting import measure_starts
from tierwise.tiers.topology import NetworkCondition

# Looks of the first round, doubling the blocks each time, of a second one for what the first
# brought up, and of a third. Every claim is corrected for all of them.
LOOKS = (5, 2, 1)
# The third looks once, but not at the fewest blocks, which tell little apart.
_LATER_LOOKS = ((0, 1), (1,))
# heuristic: below this many a profile costs more than it can save.
_FEWEST_TO_CHOOSE_FROM = 5
# heuristic: what tells a strategy that is 20% slower from the best is enough to leave it out.
_PROFILE_WARM_UP = 3
_REASONS = {
    Chosen.CONTENDER: "{} that could be the best",
    Chosen.BASELINE: "{} without any operator to compare with",
    Chosen.CHECK: "{} to check the prediction",
}
# heuristic: beyond so many conditions, what one leaves open the others say as well, and each goes
# on half as long.
_SWEEP, _MOST_ALONE, _MOST_IN_A_SWEEP = 4, 8, 4
_PROFILE_BLOCKS = PROFILE_REQUESTS - _PROFILE_WARM_UP


def measure_chosen(measuring: Measuring, strategies: Sequence[Strategy], left: list[int]) -> None:
    """Profile, then under every condition choose, measure, and choose again.

    Args:
        measuring: Sends and keeps blocks.
        strategies: All that can be deployed.
        left: Numbers of the conditions that are not done.
    """
    store = measuring.store
    if len(strategies) >= _FEWEST_TO_CHOOSE_FROM and not store.is_done("profile"):
        _profile(measuring, strategies)
    for number in left:
        _Condition(measuring, strategies, number).measure()
        keep_predictions(store)
        store.set_facts({measured_key(number): measured_aim(measuring.job.study)})


def in_sweep(spec: MeasureSpec, conditions: int) -> MeasureSpec:
    """``spec`` with the most samples of one condition, where it leaves that open."""
    if spec.max_samples is not None:
        return spec
    times = _MOST_IN_A_SWEEP if conditions > _SWEEP else _MOST_ALONE
    return spec.model_copy(update={"max_samples": times * spec.samples})


def planned_looks(
    spec: MeasureSpec, place: int, *, first: int, need: int, least: int = 0
) -> tuple[int, ...]:
    """After how many blocks of a condition a round looks.

    Args:
        spec: From :func:`in_sweep`.
        place: Which round, from 0.
        first: Blocks before it.
        need: Blocks that what was chosen still lacks to ``spec.samples``.
        least: Blocks that the first round has at least, for the required percentile.
    """
    most = max(spec.max_samples or spec.samples, least)
    blocks = [need, *(spec.samples * 2**i for i in range(1, LOOKS[0] - 1))]
    within = [n for n in blocks if need <= n <= max(most, need)]
    if place:
        last = len(within) - 1
        within = [within[min(i, last)] for i in _LATER_LOOKS[place - 1]]
    wanted = {first + n for n in within}
    if place == 0 and need < least:
        wanted.add(first + least)
    return tuple(sorted(wanted))


def measured_key(number: int) -> str:
    """The fact that says how condition ``number`` was measured."""
    return f"measured:{number}"


def measured_aim(study: StudyFile) -> str:
    """What makes a condition done: a change asks for more."""
    spec = study.measure
    aim = f"{spec.samples} to {spec.max_samples} within {spec.precision} in {spec.budget}"
    if spec.every:
        return aim
    return f"chosen for {json.dumps(study.require.as_written(), sort_keys=True)}: {aim}"


def keep_predictions(store: StudyStore) -> None:
    """Store what is predicted of every trial by all that is measured."""
    results = store.results()
    model = fit_latency_model(results)
    found = model.predict(results.conditions)
    known = {(t.strategy, t.condition): t for t in results.trials}
    told = {TrialState.PENDING, TrialState.PREDICTED, TrialState.MEASURED}
    store.set_predictions(
        (strategy, condition, (float(low), float(median), float(high)))
        for row, strategy in enumerate(model.strategies)
        for condition, low, median, high in zip(
            results.conditions, found.low_s[row], found.median_s[row], found.high_s[row],
            strict=True,
        )
        if median == median and known[strategy, condition].state in told  # noqa: PLR0124 - NaN
    )  # fmt: skip


def _profile(measuring: Measuring, strategies: Sequence[Strategy]) -> None:
    job, store = measuring.job, measuring.store
    wanted = set(strategies)
    segments = {strategy: of for strategy, of in job.segments.items() if strategy in wanted}
    costs = measure_segment_costs(
        segments, job.variants, job.data, job.study.task, measuring.progress
    )
    store.set_segment_costs(costs)
    probed = probes(strategies)
    seed = job.study.measure.seed
    plan = MeasurePlan(
        min_blocks=_PROFILE_BLOCKS,
        max_blocks=_PROFILE_BLOCKS,
        min_warmup_blocks=_PROFILE_WARM_UP,
        max_warmup_blocks=2 * _PROFILE_WARM_UP,
        seed_inputs=seed,
        seed_order=seed + 1,
    )
    measuring.progress.say(f"Profile: {len(probed)} of {len(strategies)} strategies, fast links.")
    measuring.profile(probed, plan)
    store.set_done("profile")


class _Condition:
    """The rounds of one condition."""

    def __init__(self, measuring: Measuring, strategies: Sequence[Strategy], number: int) -> None:
        self.measuring, self.store = measuring, measuring.store
        self.study: StudyFile = measuring.job.study
        self.spec = in_sweep(self.study.measure, len(measuring.job.conditions))
        self.strategies = tuple(strategies)
        self.number = number
        self.condition: NetworkCondition = measuring.job.conditions[number]
        self.starts = self._starts()

    def measure(self) -> None:
        """Go on with the rounds until nothing else could be the best."""
        shaped = False
        while True:
            results = self.store.results()
            rounds = results.rounds.get(self.condition, ())
            if self._finished_rounds() == len(rounds):
                one = self._decide(results, rounds)
                if one is None:
                    return
                self.store.add_round(self.condition, one)
                self._announce(one, again=len(rounds) > self.starts[-1])
                rounds = (*rounds, one)
            self._run(rounds, shaped=shaped)
            shaped = True
            self.store.set_facts({f"rounds:{self.number}": str(len(rounds))})

    def _decide(self, results: StudyResults, rounds: Sequence[Round]) -> Round | None:
        """The next round; ``None`` where nothing else needs to be measured."""
        candidates: Candidates = find_candidates(results, self.strategies)
        place = len(rounds) - self.starts[-1]
        if place == 0:
            seed = self.study.measure.seed
            chosen = choose_first(results, candidates, self.condition, seed)
        elif place < len(LOOKS):
            chosen = choose_more(results, candidates, self.condition, self._open(rounds))
        else:
            return None
        counts = self._counts()
        samples = self.study.measure.samples
        chosen = {
            name: why
            for name, why in chosen.items()
            if why is Chosen.CONTENDER or counts[name] < samples
        }
        if not chosen:
            return None
        first = len(self.store.blocks(self.condition))
        need = max(max(samples - counts[name], 0) for name in chosen)
        return Round(first, self._looks(first, need, place), self._tests(), chosen)

    def _looks(self, first: int, need: int, place: int) -> tuple[int, ...]:
        return planned_looks(self.spec, place, first=first, need=need, least=self._least_blocks())

    def _least_blocks(self) -> int:
        """Samples that the required percentile needs."""
        percentile = Requirement.from_mapping(self.study.require.as_written()).percentile
        return 0 if percentile is None else samples_needed(percentile)

    def _tests(self) -> int:
        return sum(LOOKS) * len(self.starts)

    def _run(self, rounds: Sequence[Round], *, shaped: bool) -> None:
        measuring, job = self.measuring, self.measuring.job
        chosen = [s for s in self.strategies if s.id in rounds[-1].chosen]
        measure_starts(measuring.deployment, chosen, job.data, self.store, measuring.progress)
        if shaped:
            measuring.deployment.running.shape(self.condition)
        measuring.condition(self.number, chosen, self._narrowing(rounds), shaped=shaped)

    def _narrowing(self, rounds: Sequence[Round]) -> Narrowing:
        last = rounds[-1]
        return Narrowing(
            contenders_of(rounds), last.looks, tests=last.tests, least_blocks=self._least_blocks()
        )

    def _open(self, rounds: Sequence[Round]) -> list[str]:
        """Contenders that no other was shown to be faster than."""
        narrowing = self._narrowing(rounds)
        for block in self.store.blocks(self.condition):
            narrowing.add(block)
        beaten = {name for name, one in narrowing.standings().items() if one.not_the_best}
        return [name for name in contenders_of(rounds) if name not in beaten]

    def _counts(self) -> Counter[str]:
        """Blocks with samples of every strategy."""
        return Counter(
            name
            for block in self.store.blocks(self.condition)
            for name in {sample.trial for sample in block.samples}
        )

    def _starts(self) -> list[int]:
        """Numbers of the rounds at which the aim of the study was new; the last is the present."""
        key, aim = f"starts:{self.number}", measured_aim(self.study)
        stored = json.loads(self.store.fact(key) or '{"aim": "", "rounds": []}')
        if stored["aim"] != aim:
            count = len(self.store.results().rounds.get(self.condition, ()))
            stored = {"aim": aim, "rounds": [*stored["rounds"], count]}
            self.store.set_facts({key: json.dumps(stored)})
        starts: list[int] = stored["rounds"]
        return starts

    def _finished_rounds(self) -> int:
        return int(self.store.fact(f"rounds:{self.number}") or 0)

    def _announce(self, one: Round, *, again: bool) -> None:
        counts = Counter(one.chosen.values())
        reasons = (Chosen.CONTENDER, Chosen.BASELINE, Chosen.CHECK)
        what = ", ".join(_REASONS[why].format(counts[why]) for why in reasons if counts[why])
        self.measuring.progress.say(
            f"{self.condition.id or 'one tier'}: {'also ' if again else ''}"
            f"{len(one.chosen)} of {len(self.strategies)} strategies are measured: {what}."
        )
