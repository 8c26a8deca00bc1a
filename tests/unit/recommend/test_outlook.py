"""What is predicted of a network that was not measured."""

from tierwise.recommend.outlook import predict
from tierwise.recommend.requirement import Requirement
from tierwise.testing.results import made_up_results

RATES = ("5Mbit", "50Mbit")


def test_whose_interval_reaches_into_that_of_the_fastest_is_tied_with_it():
    for blocks, tied in ((6, {"edge/QE", "edge/Q"}), (100, {"edge/QE"})):
        outlook = predict(
            made_up_results(edge_cloud=RATES, blocks=blocks),
            Requirement.parse(when="edge-cloud=12Mbit"),
        )
        assert outlook.predicted == (True,)
        (verdict,) = outlook.recommendation.verdicts
        assert verdict.recommended == "edge/QE"
        assert {a.id for a in verdict.strategies if a.tied_with_best} == tied
        assert not any(a.measured for a in verdict.strategies)
        # The second one's interval begins above the median of the fastest.
        assert verdict.get("edge/Q").latency.low_s > verdict.choice.latency.p50_s
