"""Crossovers in words: where the choice changes, and how surely."""

from dataclasses import replace

import numpy as np

from tierwise.predict.crossovers import Crossover
from tierwise.recommend.outlook_words import crossover_text, outlook_text
from tierwise.recommend.recommendation import ConditionVerdict
from tierwise.tiers.topology import LinkShape, NetworkCondition

CHANGE = Crossover(
    "edge-cloud", 23e6, 17e6, 34e6, "mobile/QE", "cloud/I",
    NetworkCondition({"mobile-edge": LinkShape(50e6, 0.005), "edge-cloud": LinkShape(None, 0.02)}),
)  # fmt: skip


def test_a_change_has_its_place_and_its_interval():
    assert crossover_text(CHANGE) == (
        "Below 23 Mbit/s on edge-cloud (rtt 20 ms; mobile-edge 50 Mbit/s, rtt 5 ms) choose"
        " mobile/QE, above it cloud/I (predicted; 95% interval of the change: 17 Mbit/s to"
        " 34 Mbit/s)."
    )


def test_an_interval_without_an_upper_end_reads_as_one():
    text = crossover_text(replace(CHANGE, high_bit_per_s=np.inf, above=None))
    assert "above it none (no strategy meets the requirement)" in text
    assert text.endswith("95% interval of the change: from 17 Mbit/s upward).")


def elsewhere(rate):
    shapes = {**CHANGE.condition.shapes, "mobile-edge": LinkShape(rate, 0.005)}
    return replace(CHANGE, condition=NetworkCondition(shapes))


def test_a_change_that_is_alike_under_several_networks_is_told_once():
    changes = [CHANGE, elsewhere(60e6), replace(elsewhere(70e6), bandwidth_bit_per_s=29e6)]
    first, second = outlook_text([], [], changes).split("\n\n")
    assert "(rtt 20 ms; mobile-edge 50 Mbit/s, rtt 5 ms; and 1 more networks)" in first
    assert second.startswith("Below 29 Mbit/s on edge-cloud (rtt 20 ms; mobile-edge 70 Mbit/s")


def test_many_networks_are_summed_up_and_the_table_has_each():
    verdicts = [
        ConditionVerdict(CHANGE.condition, (), name, name, None, (), predicted=True)
        for name in ("edge/Q", "edge/Q", "mobile/I")
    ]
    assert outlook_text(verdicts, [True] * 3, []) == (
        "All 3 networks are predicted: nothing was measured there. Deploy edge/Q under 2,"
        " mobile/I under 1."
    )
    assert outlook_text(verdicts, [True, False, False], []).startswith(
        "Of 3 networks 2 were measured and 1 are predicted."
    )
    assert outlook_text([verdicts[0]] * 3, [False] * 3, []) == (
        "All 3 networks were measured; nothing of this is predicted. Deploy edge/Q under all of"
        " them."
    )
