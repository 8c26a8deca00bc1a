import pytest

from tierwise.operators.strategy import Operator
from tierwise.study.placements import placements
from tierwise.tiers.topology import Tier, Topology


def topology(*names):
    return Topology(tuple(Tier(name) for name in names))


def test_the_grid_is_every_operator_on_every_tier_or_pair():
    ids = [p.id for p in placements([Operator.I, Operator.QP], topology("mobile", "edge", "cloud"))]
    assert ids == [
        "mobile/I",
        "edge/I",
        "cloud/I",
        "mobile-edge/QP",
        "mobile-cloud/QP",
        "edge-cloud/QP",
    ]


def test_all_operators_on_three_tiers_are_24_strategies():
    assert len(placements(tuple(Operator), topology("mobile", "edge", "cloud"))) == 24


@pytest.mark.parametrize("operator", list(Operator))
def test_one_tier_leaves_nothing_to_partition(operator):
    found = placements([operator], topology("edge"))
    assert len(found) == (0 if operator.partitions else 1)
