"""Crossovers in words: where the choice changes, and how surely."""

from dataclasses import replace

import numpy as np

from tierwise.predict.crossovers import Crossover
from tierwise.recommend.outlook_words import crossover_text
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
