import json
from dataclasses import replace

import numpy as np
import pytest

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.errors import NotAStudyError, RequirementNotMet, TooFewSamples
from tierwise.operators.strategy import Operator
from tierwise.recommend.as_json import as_json
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend, require_met
from tierwise.report.page import render_page
from tierwise.stats.verdict import FEWEST_BLOCKS
from tierwise.store.results import TrialState
from tierwise.testing.results import made_up_results
from tierwise.tiers.topology import LinkShape, NetworkCondition

ONE_TIER = (Operator.I, Operator.Q, Operator.E, Operator.QE)


def only(recommendation):
    (verdict,) = recommendation.verdicts
    return verdict


def with_latencies(results, latencies):
    """``results`` with the samples of some strategies replaced."""
    trials = [
        replace(trial, latency_s=latencies[trial.strategy.id])
        if trial.strategy.id in latencies
        else trial
        for trial in results.trials
    ]
    return replace(results, trials=tuple(trials))


def test_the_fastest_strategy_that_meets_the_requirement_is_recommended():
    results = made_up_results()
    assert only(recommend(results)).recommended == "edge/QE"
    careful = only(recommend(results, Requirement.parse(max_loss=1)))
    assert careful.recommended == "edge/Q"
    assert careful.get("edge/QE").meets is False
    assert careful.get("edge/QE").on_pareto_front


def test_the_verdict_says_what_where_how_fast_and_at_what_loss():
    text = recommend(made_up_results(), Requirement.parse(max_loss=1)).verdict
    assert text.startswith("Deploy edge/Q (quantize, on edge).")
    assert "edge-cloud 50 Mbit/s, rtt 8 ms it answers in 12.1 ms at the median (n=100, 95%" in text
    assert "It loses 0.3 points (top-1 96.1 on 360 inputs, 96.4 before)" in text
    assert "The model as it is does best on edge: 18.6 ms" in text


def test_strategies_that_the_samples_cannot_tell_apart_are_tied_and_the_simpler_is_preferred():
    results = made_up_results(operators=(Operator.I, Operator.P))
    noise = np.random.default_rng(3).normal(0, 0.02, (2, 100))
    shared = 0.01 * np.exp(np.random.default_rng(4).normal(0, 0.2, 100))
    tied = {
        "edge/I": shared * np.exp(noise[0] + 0.0005),
        "edge-cloud/P@relu_9": shared * np.exp(noise[1]),
    }
    verdict = only(recommend(with_latencies(results, tied)))
    assert {a.id for a in verdict.strategies if a.tied_with_best} == set(tied)
    assert verdict.recommended == "edge/I"
    assert "edge-cloud/P@relu_9 is as fast as edge/I, within 3%" in verdict.text


def test_a_simpler_one_that_is_slower_as_far_as_is_known_is_not_preferred_for_that():
    results = made_up_results(operators=(Operator.I, Operator.P))
    rng = np.random.default_rng(2)
    tied = {
        "edge/I": 0.0108 * np.exp(rng.normal(0, 0.2, 100)),
        "edge-cloud/P@relu_9": 0.01 * np.exp(rng.normal(0, 0.2, 100)),
    }
    verdict = only(recommend(with_latencies(results, tied)))
    assert verdict.fastest == verdict.recommended == "edge-cloud/P@relu_9"
    assert verdict.get("edge/I").tied_with_best


def test_of_tied_ones_in_as_many_segments_less_loss_counts_more_than_fewer_operators():
    results = made_up_results(operators=(Operator.I, Operator.Q, Operator.QE))
    rng = np.random.default_rng(3)
    shared = 0.005 * np.exp(rng.normal(0, 0.2, 100))
    tied = {name: shared * np.exp(rng.normal(0, 0.02, 100)) for name in ("edge/Q", "edge/QE")}
    losses = {"Q": 1.0, "QE": 0.0}
    quality = {
        name: replace(figure, loss=losses.get(name, figure.loss))
        for name, figure in results.quality.items()
    }
    results = replace(with_latencies(results, tied), quality=quality)
    verdict = only(recommend(results))
    assert {a.id for a in verdict.strategies if a.tied_with_best} == set(tied)
    assert verdict.recommended == "edge/QE"


def test_a_small_difference_that_every_block_shows_is_told_apart_under_a_larger_drift():
    results = made_up_results(operators=(Operator.I, Operator.P))
    shared = 0.01 * np.exp(np.random.default_rng(4).normal(0, 0.3, 100))
    noise = np.random.default_rng(5).normal(0, 0.01, 100)
    pair = {"edge/I": shared * np.exp(noise + 0.02), "edge-cloud/P@relu_9": shared}
    verdict = only(recommend(with_latencies(results, pair)))
    assert verdict.recommended == "edge-cloud/P@relu_9"
    comparison = verdict.get("edge/I").against_best
    assert comparison.standing.not_the_best
    assert comparison.effect.magnitude.value == "negligible"
    assert comparison.ratio.estimate == pytest.approx(1.02, abs=0.005)
    assert comparison.standing.value == "slower, but by less than matters"
    assert "too little to matter" in verdict.text


def test_one_rival_is_compared_in_one_sentence():
    verdict = only(recommend(made_up_results(operators=(Operator.I,), blocks=120)))
    assert verdict.recommended == "edge/I"
    assert "The next one, cloud/I, is " in verdict.text
    assert "next best place" not in verdict.text
    both = only(recommend(made_up_results(operators=(Operator.I, Operator.Q), blocks=120)))
    slowed = with_latencies(
        made_up_results(operators=(Operator.I, Operator.Q), blocks=120),
        {id_: 9 * both.get(id_).trial.latency_s for id_ in ("cloud/Q", "mobile/Q")},
    )
    verdict = only(recommend(slowed))
    assert verdict.recommended == "edge/Q"
    assert "The next one, edge/I (the model as it is), is " in verdict.text
    assert "does best on" not in verdict.text
    # Tied, how it does is said apart from that it cannot be told apart.
    few = only(recommend(made_up_results(operators=(Operator.I,), blocks=4)))
    assert "The next best place for it is " in few.text


def test_that_the_original_only_guesses_is_told_before_anything_else():
    guesses = ResultWarning(WarningKind.LIKE_GUESSING, "", "It has 2 of 40 inputs right.", "")
    results = made_up_results()
    before = tuple(
        ResultWarning(WarningKind.CPU_OFF, tier, "off.", "") for tier in results.topology.names
    )
    said = recommend(replace(results, warnings=(*before, guesses))).verdict
    assert "Beware: no better than guessing: It has 2 of 40" in said


def test_int8_that_is_slower_than_float_is_never_recommended():
    results = made_up_results(slow_int8=True, operators=(Operator.I, Operator.Q))
    # The only one that meets the requirement is INT8, because it needs less memory.
    memory = {t.strategy.id: max(t.memory_bytes.values()) for t in results.trials}
    limit = (memory["edge/Q"] + memory["edge/I"]) // 2
    asked = replace(Requirement(), max_memory_bytes=limit)
    verdict = only(recommend(results, asked))
    assert verdict.get("edge/Q").meets
    assert verdict.get("edge/Q").unsuited.startswith("INT8 is no faster here")
    assert verdict.recommended is None


def test_few_blocks_are_not_enough_to_call_anything_tied_or_slower():
    verdict = only(recommend(made_up_results(blocks=6)))
    assert verdict.recommended == verdict.fastest
    assert [a.id for a in verdict.strategies if a.tied_with_best] == [verdict.fastest]
    assert "There are too few blocks to tell it from" in verdict.text
    assert f"{FEWEST_BLOCKS} are needed" in verdict.text


def test_a_limit_that_is_kept_narrowly_is_said_to_be():
    results = made_up_results(operators=ONE_TIER)
    p95_s = only(recommend(results)).choice.latency.p95_s
    asked = Requirement.parse(latency=f"p95={p95_s * 1.001:.9f}s")
    assert (
        "It keeps the limit narrowly: the true p95 may be up to"
        in recommend(results, asked).verdict
    )
    assert "narrowly" not in recommend(results, Requirement.parse(latency="p95=1s")).verdict


def test_a_loss_that_so_few_inputs_cannot_show_is_called_in_doubt():
    results = made_up_results(operators=(Operator.Q, Operator.I))
    assert "loses 0.3 points" in recommend(results).verdict
    assert "which 360 inputs cannot tell from no change" in recommend(results).verdict


def test_where_nothing_meets_the_requirement_it_says_what_would_have_to_give():
    recommendation = recommend(
        made_up_results(), Requirement.parse(latency="p95=12ms", max_loss=0.5)
    )
    with pytest.raises(
        RequirementNotMet, match=r"p95 at most 12 ms, at most 0\.5 points"
    ) as raised:
        require_met(recommendation)
    assert raised.value.exit_code == 4
    assert "With p95 at 12.7 ms instead of 12 ms, edge/Q would." in raised.value.hint
    assert "With a loss of 1.7 points instead of 0.5 points, edge/QE would." in raised.value.hint
    assert raised.value.hint in recommendation.verdict


def test_where_every_strategy_misses_in_two_ways_the_closest_is_named():
    recommendation = recommend(
        made_up_results(operators=(Operator.QE,)), Requirement.parse(latency="1ms", max_loss=0)
    )
    assert "The closest, edge/QE, misses it in more than one way: latency" in recommendation.verdict


def test_a_requirement_that_is_met_raises_nothing():
    require_met(recommend(made_up_results()))


@pytest.mark.parametrize(("percentile", "needed"), [(90, 44), (95, 90), (99, 459)])
def test_a_percentile_that_the_samples_cannot_back_is_refused_with_the_number_needed(
    percentile, needed
):
    few = made_up_results(blocks=needed - 1, operators=ONE_TIER)
    asked = Requirement.parse(latency=f"p{percentile}=1s")
    with pytest.raises(TooFewSamples, match=f"p{percentile}.*needs at least {needed} samples"):
        recommend(few, asked)
    enough = made_up_results(blocks=needed, operators=ONE_TIER)
    assert only(recommend(enough, asked)).fastest == "edge/QE"


def test_a_trial_with_fewer_samples_than_the_others_is_neither_met_nor_missed():
    results = made_up_results(operators=ONE_TIER)
    short = replace(
        next(t for t in results.trials if t.strategy.id == "edge/QE"),
        latency_s=results.trials[0].latency_s[:50] / 10,
        block=np.arange(50),
        parts_s={},
    )
    others = tuple(t for t in results.trials if t.strategy.id != "edge/QE")
    verdict = only(
        recommend(replace(results, trials=(short, *others)), Requirement.parse(latency="p95=1s"))
    )
    assert verdict.get("edge/QE").meets is None
    assert verdict.get("edge/QE").misses[0].why == "p95 needs 90 samples, there are 50"
    assert verdict.recommended == "edge/Q"


def test_a_predicted_strategy_is_shown_and_never_recommended():
    results = made_up_results(predicted=["edge/QE"])
    verdict = only(recommend(results))
    predicted = verdict.get("edge/QE")
    assert predicted.trial.state is TrialState.PREDICTED
    assert verdict.recommended == "edge/Q"
    assert not predicted.on_pareto_front
    assert "Predicted but not measured, edge/QE could be faster" in verdict.text


def test_a_strategy_that_does_not_fit_does_not_meet_the_requirement():
    verdict = only(recommend(made_up_results(does_not_fit=["edge/QE"], failed=["edge/Q"])))
    assert verdict.get("edge/QE").meets is False
    assert verdict.get("edge/Q").meets is False
    assert verdict.fastest == "mobile-edge/QEP@relu_9_q"


def test_a_study_without_quality_knows_latency_only():
    results = replace(made_up_results(operators=ONE_TIER), quality={})
    verdict = only(recommend(results))
    assert verdict.recommended == "edge/QE"
    assert [a.id for a in verdict.strategies if a.on_pareto_front] == ["edge/QE"]
    limited = recommend(results, Requirement.parse(max_loss=1))
    assert only(limited).recommended is None
    assert "might meet it, but its quality was not evaluated" in limited.verdict


def test_a_study_in_which_nothing_is_measured_yet_recommends_nothing():
    assert "Nothing was measured" in recommend(made_up_results(blocks=0)).verdict
    with pytest.raises(NotAStudyError, match="has no trial yet"):
        recommend(replace(made_up_results(blocks=0), trials=()))


def test_one_trial_is_recommended_without_any_comparison():
    results = made_up_results()
    results = replace(results, trials=results.trials[:1])
    verdict = only(recommend(results))
    assert verdict.recommended == "mobile/I"
    assert verdict.omnibus is None
    assert "No other strategy meets the requirement." in verdict.text


def test_where_the_choice_changes_along_the_sweep_the_measured_bandwidths_are_named():
    results = made_up_results(
        edge_cloud=("1Mbit", "10Mbit", "1Gbit"), operators=(Operator.P, Operator.I)
    )
    only_far = tuple(t for t in results.trials if t.strategy.tiers in {("mobile",), ("cloud",)})
    recommendation = recommend(replace(results, trials=only_far))
    assert [v.recommended for v in recommendation.verdicts] == ["mobile/I", "cloud/I", "cloud/I"]
    (switch,) = recommendation.switches
    assert (switch.below, switch.above) == ("mobile/I", "cloud/I")
    words = "Between 1 Mbit/s and 10 Mbit/s on edge-cloud the choice changes from mobile/I to"
    assert words in recommendation.verdict


def test_a_change_that_is_alike_whatever_the_other_link_is_said_once():
    results = made_up_results(
        edge_cloud=("1Mbit", "10Mbit"), operators=(Operator.P, Operator.I), blocks=30
    )
    trials = tuple(t for t in results.trials if t.strategy.tiers in {("mobile",), ("cloud",)})
    twice = {
        condition: NetworkCondition({**condition.shapes, "mobile-edge": LinkShape(100e6, 0.002)})
        for condition in results.conditions
    }
    again = tuple(replace(trial, condition=twice[trial.condition]) for trial in trials)
    both = replace(
        results, conditions=(*results.conditions, *twice.values()), trials=trials + again
    )
    said = recommend(both).verdict.split("\n")[0]
    assert said == (
        "Between 1 Mbit/s and 10 Mbit/s on edge-cloud (whatever the rest of the network) the"
        " choice changes from mobile/I to cloud/I."
    )
    assert len(recommend(both).switches) == 2


def test_the_json_has_what_programs_read_and_no_number_that_is_not_one():
    results = made_up_results(predicted=["cloud/Q"], does_not_fit=["mobile/I"], blocks=60)
    answer = json.loads(json.dumps(as_json(recommend(results)), allow_nan=False))
    assert answer["verdict"].startswith("Deploy edge/QE")
    by_id = {strategy["id"]: strategy for strategy in answer["strategies"]}
    best = by_id["edge/QE"]
    assert best["operator"] == "QE"
    assert best["tiers"] == ["edge"]
    assert best["condition"] == results.conditions[0].id
    assert best["latency_s"]["n"] == 60
    assert best["latency_s"]["p95"] is None
    assert (best["meets"], best["tied_with_best"], best["on_pareto_front"]) == (True,) * 3
    assert sum(best["breakdown_s"].values()) == pytest.approx(best["latency_s"]["p50"], rel=0.02)
    assert by_id["mobile/I"]["latency_s"]["p50"] is None
    assert by_id["cloud/Q"]["latency_s"] | {"p50_interval": None, "p50": None} == {
        "p50": None, "p50_interval": None, "p95": None, "n": 0,
    }  # fmt: skip


def test_a_study_that_is_not_measured_yet_says_so_and_not_that_nothing_meets():
    recommendation = recommend(made_up_results(blocks=0))
    (verdict,) = recommendation.verdicts
    assert {a.meets for a in verdict.strategies} == {None}
    with pytest.raises(NotAStudyError, match="1 of 1 network conditions are not measured yet"):
        require_met(recommendation)


def test_what_is_wrong_with_the_network_or_with_a_rival_s_tier_is_in_the_verdict():
    results = made_up_results()
    [condition] = results.conditions
    off = ResultWarning(WarningKind.CPU_OFF, "mobile", "asked 0.5, got 0.3.", "Close others.")
    disturbed = ResultWarning(WarningKind.DISTURBED, condition.id, "40 of 80.", "Close others.")
    said = recommend(replace(results, warnings=(off, disturbed))).verdict
    assert only(recommend(results)).choice.trial.strategy.tiers == ("edge",)
    assert "Beware: " in said
    assert "cpu emulation off (mobile): asked 0.5, got 0.3" in said
    assert "disturbed blocks: 40 of 80" in said


def with_cloud_left_out(later):
    """Cloud is left out after 30 blocks; until then mobile is not the best, and ``later`` it is."""
    results = made_up_results(operators=(Operator.I,), blocks=300)
    rng = np.random.default_rng(9)
    shared = 0.01 * np.exp(rng.normal(0, 0.3, 300))
    shared[:30] *= 0.8
    noise = {name: np.exp(rng.normal(0, sigma, 300)) for name, sigma in (
        ("mobile/I", 0.1), ("edge/I", 0.005), ("cloud/I", 0.005)
    )}  # fmt: skip
    noise["mobile/I"] *= np.where(np.arange(300) < 30, 1.02, later)
    noise["cloud/I"] *= 1.03
    results = with_latencies(results, {name: shared * of for name, of in noise.items()})
    trials = tuple(
        replace(t, latency_s=t.latency_s[:30], block=t.block[:30], parts_s={})
        if t.strategy.id == "cloud/I"
        else t
        for t in results.trials
    )
    return recommend(replace(results, trials=trials))


def test_what_was_left_out_for_one_that_is_tied_is_slower_than_that_and_not_tied():
    recommendation = with_cloud_left_out(later=0.98)
    verdict = only(recommendation)
    assert verdict.fastest == "mobile/I"
    assert {a.id for a in verdict.strategies if a.tied_with_best} == {"mobile/I", "edge/I"}
    assert verdict.get("cloud/I").against_best.beaten_by == "edge/I"
    assert "edge/I cannot be told apart from mobile/I in 300 blocks" in verdict.text
    assert "slower than edge/I</td>" in render_page(recommendation)


def test_what_was_left_out_for_one_that_is_slower_than_the_fastest_is_said_to_be_slower_than_it():
    verdict = only(with_cloud_left_out(later=0.9))
    assert [a.id for a in verdict.strategies if a.tied_with_best] == ["mobile/I"]
    assert "The next one, cloud/I, is slower than edge/I, which is not the fastest" in verdict.text
