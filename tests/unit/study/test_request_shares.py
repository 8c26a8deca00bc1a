from dataclasses import replace

import pytest

from tierwise.caveats import WarningKind
from tierwise.study.request_shares import QUANTITY, request_shares
from tierwise.testing.results import made_up_results
from tierwise.tiers.topology import Topology

VARIANTS = ("I", "Q", "E", "QE")


def _with_tier(results, name, **changes):
    tiers = tuple(
        replace(tier, **changes) if tier.name == name else tier for tier in results.topology.tiers
    )
    return replace(results, topology=Topology(tiers))


def _slowed(results, strategy_id, factor, every=1):
    """Every ``every``-th request of one strategy computes ``factor`` times as long."""

    def slow(trial):
        parts = {name: seconds.copy() for name, seconds in trial.parts_s.items()}
        parts[f"compute@{trial.strategy.tiers[0]}"][::every] *= factor
        return replace(trial, parts_s=parts)

    return replace(
        results,
        trials=tuple(slow(t) if t.strategy.id == strategy_id else t for t in results.trials),
    )


def test_each_whole_variant_is_set_against_the_fastest_tier():
    figures, warnings = request_shares(made_up_results())
    assert {figure.subject for figure in figures} == {f"mobile/{name}" for name in VARIANTS}
    assert {(figure.quantity, figure.asked) for figure in figures} == {(QUANTITY, 0.5)}
    # 15 ms on a whole core, 31 on half a core; cloud has two threads and is left out.
    assert all(figure.achieved == pytest.approx(15 / 31, rel=0.02) for figure in figures)
    assert figures[0].backend.startswith("100 requests on mobile, 100 on edge; 95%: 0.4")
    assert warnings == []


def test_what_is_off_beyond_its_scatter_is_a_warning():
    results = _slowed(made_up_results(), "mobile/Q", 1.3)
    figures, (warning,) = request_shares(results)
    assert (warning.kind, warning.subject) == (WarningKind.SHARE_OFF, "mobile/Q")
    assert warning.evidence.startswith("0.372 of the speed of edge where 0.5 was asked (100 req")
    (figure,) = [f for f in figures if f.subject == "mobile/Q"]
    assert figure.achieved == pytest.approx(15 / 31 / 1.3, rel=0.02)
    too_fast = _with_tier(made_up_results(), "mobile", cpus=0.4)
    assert {w.subject for w in request_shares(too_fast)[1]} == {f"mobile/{n}" for n in VARIANTS}


def test_what_the_scatter_explains_is_none():
    # A little more than half of the requests are slow, so that the median is among them.
    results = _slowed(_slowed(made_up_results(), "mobile/Q", 1.3, every=2), "mobile/Q", 1.3, 49)
    figures, warnings = request_shares(results)
    (figure,) = [f for f in figures if f.subject == "mobile/Q"]
    assert figure.achieved < 0.45
    assert warnings == []


def test_few_requests_say_nothing():
    assert request_shares(made_up_results(blocks=6)) == ([], [])
    assert len(request_shares(made_up_results(blocks=7))[0]) == len(VARIANTS)


def test_only_networks_under_which_both_were_measured_count():
    results = made_up_results(edge_cloud=("50Mbit", "1Mbit"), blocks=10)
    first = results.conditions[0]
    trials = tuple(
        replace(t, latency_s=t.latency_s[:0])
        if t.strategy.id == "edge/I" and t.condition == first
        else t
        for t in results.trials
    )
    figures, _ = request_shares(replace(results, trials=trials))
    told = {f.subject: f.backend.split(";")[0] for f in figures}
    assert told["mobile/I"] == "10 requests on mobile, 10 on edge"
    assert told["mobile/Q"] == "20 requests on mobile, 20 on edge"


@pytest.mark.parametrize("changes", [{"url": "http://edge:1"}, {"threads": 2}])
def test_real_tiers_and_several_threads_are_not_compared(changes):
    assert request_shares(_with_tier(made_up_results(), "edge", **changes)) == ([], [])
