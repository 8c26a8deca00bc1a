from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tierwise.operators.strategy import Operator, Strategy
from tierwise.serving.client import Reply
from tierwise.serving.stage import check_name
from tierwise.serving.timing import Hop
from tierwise.study.deployment import Deployment, stage_name
from tierwise.tiers.topology import Tier, Topology

TOPOLOGY = Topology((Tier("mobile"), Tier("edge"), Tier("cloud")))


class Answered(Deployment):
    """Every request is answered by what was sent to each hop, without any agent, in 100 bytes."""

    sent = ()

    def infer(self, _strategy, _payload):
        user, *hops = self.sent
        told = [Hop(tier, server_s=0.0, sent_bytes=sent) for tier, sent in hops]
        return Reply({}, tuple(told), 1.0, 0.0, user, 100)


@pytest.mark.parametrize(
    ("tiers", "sent", "crossed"),
    [
        (("mobile",), [1000, ("mobile", 0)], {}),
        (("edge",), [1000, ("edge", 0)], {"mobile-edge": 1100}),
        (("cloud",), [1000, ("cloud", 0)], {"mobile-edge": 1100, "edge-cloud": 1100}),
        (
            ("mobile", "cloud"),
            [1000, ("mobile", 77), ("cloud", 0)],
            {"mobile-edge": 177, "edge-cloud": 177},
        ),
        (
            ("mobile", "edge", "cloud"),
            [1000, ("mobile", 77), ("edge", 5), ("cloud", 0)],
            {"mobile-edge": 177, "edge-cloud": 105},
        ),
        (
            ("edge", "cloud"),
            [1000, ("edge", 5), ("cloud", 0)],
            {"mobile-edge": 1100, "edge-cloud": 105},
        ),
    ],
)
def test_requests_and_answers_are_counted_on_every_link_that_they_cross(tiers, sent, crossed):
    deployment = Answered(SimpleNamespace(topology=TOPOLOGY), None, "classification")
    deployment.sent = sent
    cuts = tuple("xy"[: len(tiers) - 1])
    strategy = Strategy(Operator.P if cuts else Operator.I, "I", tiers, cuts)
    assert deployment.send(strategy, b"").wire_bytes == crossed


@given(st.text(min_size=1))
@example("a.:b")
@example("..")
@example("x" * 300)
def test_whatever_a_cut_is_called_an_agent_takes_its_stage(cut):
    strategy = Strategy(Operator.P, "I", ("mobile", "edge"), (cut,))
    assert check_name(stage_name(strategy))
