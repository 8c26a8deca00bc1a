from tierwise.recommend.requirement import Requirement
from tierwise.recommend.route import Crossing, Stop, route, route_text
from tierwise.recommend.verdict import recommend
from tierwise.testing.results import made_up_results


def assessed(placement, operator):
    results = made_up_results()
    [verdict] = recommend(results, Requirement.parse()).verdicts
    found = [
        a
        for a in verdict.strategies
        if (a.trial.strategy.placement, a.trial.strategy.operator.value) == (placement, operator)
    ]
    return found[0], results.topology


def test_a_split_over_a_tier_that_only_passes_on():
    assessment, topology = assessed("mobile-cloud", "QP")
    stops = route(assessment, topology)
    assert [type(stop) for stop in stops] == [Stop, Crossing, Stop, Crossing, Stop]
    mobile, near, edge, far, cloud = stops
    assert (mobile.runs, edge.runs, cloud.runs) == ("QP head", "", "QP tail")
    assert edge.reached
    assert edge.compute_s is None
    assert near.crossed
    assert far.crossed
    # One hop over two links: its time is said once, at the end, as that of both.
    assert near.transfer_s is None
    assert far.transfer_s == assessment.breakdown_s["transfer@mobile-cloud"]
    assert far.together


def test_what_a_request_never_reaches_is_drawn_but_not_told():
    assessment, topology = assessed("mobile", "I")
    stops = route(assessment, topology)
    assert [s.reached for s in stops if isinstance(s, Stop)] == [True, False, False]
    assert not any(s.crossed for s in stops if isinstance(s, Crossing))
    text = route_text(assessment, topology)
    assert text.startswith("mobile [I, ")
    assert "edge" not in text


def test_a_whole_model_on_a_far_tier_is_reached_over_the_link():
    assessment, topology = assessed("edge", "Q")
    text = route_text(assessment, topology)
    assert text.startswith("mobile ─ ")
    assert "─▶ edge [Q, " in text
