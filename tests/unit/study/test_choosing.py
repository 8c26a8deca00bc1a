"""What is worth measuring, told from a profile or from other conditions."""

from dataclasses import replace

import numpy as np
import pytest

from tierwise.operators.strategy import Operator
from tierwise.recommend.elsewhere import compared_elsewhere
from tierwise.recommend.verdict import recommend
from tierwise.store.results import (
    Chosen,
    Round,
    SegmentCosts,
    StudyResults,
    TrialState,
    unlimited,
)
from tierwise.study.choosing import choose_first, choose_more, find_candidates, probes
from tierwise.study.settled import settled_elsewhere
from tierwise.testing.results import made_up_results


def over_fast_links(trial, condition):
    """``trial`` as a profile would have it: without what the network adds."""
    parts = {
        key: np.full(len(value), 4e-4) if key.startswith("transfer@") else value
        for key, value in trial.parts_s.items()
    }
    return replace(
        trial, condition=condition, parts_s=parts, latency_s=np.sum(list(parts.values()), axis=0)
    )


@pytest.fixture
def grid():
    return made_up_results(edge_cloud=("5Mbit", "50Mbit"))


@pytest.fixture
def profiled(grid) -> StudyResults:
    """The grid's study with its profile, and nothing measured yet."""
    strategies = list(dict.fromkeys(t.strategy for t in grid.trials))
    here, wanted = grid.conditions[0], probes(strategies)
    return replace(
        grid,
        profile=tuple(
            over_fast_links(t, unlimited(grid.topology))
            for t in grid.trials
            if t.condition == here and t.strategy in wanted
        ),
        segment_costs={
            s.id: SegmentCosts((0.38, 0.62), (66_000 if "Q" not in s.variant else 17_000,))
            for s in strategies
            if s.cuts
        },
        trials=tuple(
            replace(t, state=TrialState.PENDING, latency_s=np.empty(0), parts_s={}, wire_bytes={})
            for t in grid.trials
        ),
    )


def strategies_of(results):
    return tuple(dict.fromkeys(t.strategy for t in results.trials))


def choose(results, condition, seed=0):
    candidates = find_candidates(results, strategies_of(results))
    return choose_first(results, candidates, condition, seed)


def test_probes_run_every_segment_on_every_tier_that_it_can_run_on(grid):
    every = strategies_of(grid)
    picked = probes(every)
    assert len(picked) < len(every)
    assert {s for s in every if not s.cuts} <= set(picked)

    def roles(strategies):
        return {
            (s.variant, tier, place == 0)
            for s in strategies
            if s.cuts
            for place, tier in enumerate(s.tiers)
        }

    assert roles(picked) == roles(every)


def test_the_truly_best_is_a_contender_and_baselines_and_checks_are_there(grid, profiled):
    for condition in grid.conditions:
        chosen = choose(profiled, condition)
        truth = {
            t.strategy.id: np.median(t.latency_s) for t in grid.trials if t.condition == condition
        }
        best = min(truth, key=truth.get)
        assert chosen[best] is Chosen.CONTENDER
        assert len(chosen) < len(truth) / 2
        plain_s = {id_: s for id_, s in truth.items() if id_.endswith("/I")}
        assert min(plain_s, key=plain_s.get) in chosen
        assert max(plain_s, key=plain_s.get) not in chosen, "it is far from the best place"
        checks = [id_ for id_, why in chosen.items() if why is Chosen.CHECK]
        assert len(checks) == 1
        slow = {id_ for id_, s in truth.items() if s > 6 * truth[best]}
        drawn = [choose(profiled, condition, seed) for seed in range(20)]
        checks += [id_ for one in drawn for id_, why in one.items() if why is Chosen.CHECK]
        assert not slow & set(checks)
        assert choose(profiled, condition) == chosen
    assert {str(choose(profiled, grid.conditions[0], seed)) for seed in range(5)} != {str(chosen)}


def test_what_loses_too_much_or_holds_too_much_is_no_contender(profiled):
    strict = replace(profiled, requirement={"max_loss": "0.5"})
    (here, *_) = profiled.conditions
    contenders = {i for i, why in choose(strict, here).items() if why is Chosen.CONTENDER}
    assert contenders
    assert all("E" not in id_.split("/")[1].split("@")[0] for id_ in contenders)
    heavy = tuple(
        replace(t, memory_bytes=dict.fromkeys(t.memory_bytes, 2**30))
        if t.strategy.operator is Operator.QE
        else t
        for t in profiled.trials
    )
    small = replace(profiled, trials=heavy, requirement={"max_memory": "500MiB"})
    contenders = {i for i, why in choose(small, here).items() if why is Chosen.CONTENDER}
    assert contenders
    assert not any(id_.endswith("/QE") for id_ in contenders)
    nothing = replace(profiled, requirement={"max_memory": "1MiB"})
    assert choose(nothing, here), "where nothing meets the requirement the fastest are measured"


def test_with_nothing_to_predict_from_everything_is_a_contender():
    empty = made_up_results(blocks=0, operators=[Operator.I])
    pending = replace(
        empty, trials=tuple(replace(t, state=TrialState.PENDING) for t in empty.trials)
    )
    chosen = choose(pending, pending.conditions[0])
    assert set(chosen.values()) == {Chosen.CONTENDER}
    assert len(chosen) == 3


def measured(profiled, grid, condition, chosen):
    """``profiled`` with what was chosen measured under ``condition``."""
    truth = {(t.strategy, t.condition): t for t in grid.trials}
    return replace(
        profiled,
        trials=tuple(
            truth[t.strategy, t.condition]
            if t.condition == condition and t.strategy.id in chosen
            else t
            for t in profiled.trials
        ),
    )


def test_a_second_round_brings_only_what_could_still_be_the_best(grid, profiled):
    condition = grid.conditions[0]
    candidates = find_candidates(profiled, strategies_of(profiled))
    chosen = choose(profiled, condition)
    results = measured(profiled, grid, condition, chosen)
    assert choose_more(results, candidates, condition, ["mobile/QE"]) == {}
    contenders = {id_ for id_, why in chosen.items() if why is Chosen.CONTENDER}
    truth = {t.strategy.id: np.median(t.latency_s) for t in results.trials if len(t.latency_s)}
    best = min(contenders, key=truth.get)
    without = measured(profiled, grid, condition, set(chosen) - {best})
    more = choose_more(without, candidates, condition, contenders - {best})
    assert set(more) >= contenders
    assert set(more.values()) == {Chosen.CONTENDER}


def test_where_nothing_keeps_the_latency_limit_what_might_is_measured_next(grid, profiled):
    condition = grid.conditions[0]
    results = measured(profiled, grid, condition, {"mobile/I"})
    limit = {"latency": "p50=13ms"}
    strict = replace(results, requirement=limit)
    candidates = find_candidates(strict, strategies_of(strict))
    more = choose_more(strict, candidates, condition, ["mobile/I"])
    assert "mobile/I" in more
    assert len(more) > 1


@pytest.fixture
def twins():
    """Two bandwidths of edge-cloud, the first one measured; mobile and edge don't notice."""
    grid = made_up_results(edge_cloud=("5Mbit", "50Mbit"), operators=[Operator.I, Operator.Q])
    first, second = grid.conditions
    wanted = {"mobile/I", "mobile/Q", "edge/Q", "cloud/Q"}
    chosen = dict.fromkeys(sorted(wanted), Chosen.CONTENDER)
    trials = tuple(
        t
        if t.condition == first and t.strategy.id in wanted
        else replace(t, state=TrialState.PENDING, latency_s=np.empty(0), parts_s={}, wire_bytes={})
        for t in grid.trials
    )
    rounds = {first: (Round(0, (30,), 8, chosen),)}
    return replace(grid, trials=trials, rounds=rounds), second


def test_what_another_condition_settled_is_not_measured_again_and_its_choice_is(twins):
    results, here = twins
    there = recommend(replace(results, conditions=results.conditions[:1])).verdicts[0].recommended
    assert there in {"mobile/Q", "edge/Q"}
    (other,) = {"mobile/Q", "edge/Q"} - {there}
    assert settled_elsewhere(results, here, [there, other, "cloud/Q"]) == {other}
    # The choice of the other condition is no contender here, so it settles nothing.
    assert not settled_elsewhere(results, here, [other, "cloud/Q", "mobile/I"])
    # Cloud crosses the link that differs.
    assert not settled_elsewhere(results, here, [there, "cloud/Q"])


def test_the_verdict_says_where_the_others_were_compared(twins):
    results, here = twins
    there = recommend(replace(results, conditions=results.conditions[:1])).verdicts[0].recommended
    (other,) = {"mobile/Q", "edge/Q"} - {there}
    truth = made_up_results(edge_cloud=("5Mbit", "50Mbit"), operators=[Operator.I, Operator.Q])
    measured_here = {t.strategy.id: t for t in truth.trials if t.condition == here}
    fast = float(np.median(measured_here[there].latency_s))
    trials = tuple(
        measured_here[there]
        if t.condition == here and t.strategy.id == there
        else replace(t, state=TrialState.PREDICTED, predicted_s=(fast * 0.9, fast, fast * 1.2))
        if t.condition == here and t.strategy.id in {other, "cloud/I"}
        else t
        for t in results.trials
    )
    rounds = {**results.rounds, here: (Round(0, (30,), 8, {there: Chosen.CONTENDER}),)}
    known = replace(results, trials=trials, rounds=rounds)
    text = recommend(known).verdicts[1].text
    assert f"Deploy {there}" in text
    assert "where every link that they use is as here, " + other in text
    assert "Predicted but not measured, cloud/I could be faster" in text
    assert compared_elsewhere(known, here, there, "cloud/I") is None


def test_what_was_shown_to_be_faster_elsewhere_is_not_said_to_be_no_different(twins):
    results, here = twins
    assert compared_elsewhere(results, here, "mobile/Q", "mobile/I") is not None
    assert compared_elsewhere(results, here, "mobile/I", "mobile/Q") is None
