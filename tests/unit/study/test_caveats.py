from dataclasses import replace

import pytest

from tierwise.caveats import WarningKind
from tierwise.measure.machine import MachineState
from tierwise.measure.outcome import MeasureOutcome, StopReason
from tierwise.measure.sample import Block, Failure, Sample
from tierwise.measure.warm_up import WarmUp
from tierwise.store.results import ProbeFigure
from tierwise.study.caveats import crowded_caveats, measured_caveats, probe_caveats
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier

CONDITION = NetworkCondition({"mobile-cloud": LinkShape(1e6)})
CLEAN = MeasureOutcome(StopReason.MOST_BLOCKS, 20, WarmUp(blocks=30), {}, {}, 20, 0, 0, 1.0)


def blocks():
    """Twenty quiet ones of one request."""
    sample = Sample("cloud/I", 0, 0, 0.5, {"compute@cloud": 0.5}, {}, 0.0)
    return [
        Block(i, 0, ("cloud/I",), (replace(sample, block=i),), machine=MachineState(steal=0.0))
        for i in range(20)
    ]


def late(block):
    return replace(block, samples=tuple(replace(s, late=True) for s in block.samples))


def disturbed(block):
    return replace(block, machine=MachineState(steal=0.3))


def retried(block):
    return replace(block, failures=(Failure("cloud/I", block.index, 1, "the agent died"),))


def unexplained(block):
    return replace(block, samples=tuple(replace(s, parts_s={}) for s in block.samples))


def test_a_quiet_measurement_has_nothing_against_it():
    assert measured_caveats(CONDITION, blocks(), CLEAN) == []


@pytest.mark.parametrize(
    ("spoil", "spoilt", "kind", "evidence"),
    [
        (late, 2, WarningKind.SENT_LATE, "10.0% of 20 requests were sent more than 1 ms after"),
        (disturbed, 2, WarningKind.DISTURBED, "2 of 20 blocks, such as: 30.0% of CPU time was"),
        (retried, 1, WarningKind.RETRIED, "1 requests failed and were sent again: the agent died"),
        (unexplained, 20, WarningKind.BREAKDOWN_OFF, "100.0% of the latency (median)"),
    ],
)
def test_what_blocks_say_against_a_measurement_is_a_warning(spoil, spoilt, kind, evidence):
    told = blocks()
    told[:spoilt] = map(spoil, told[:spoilt])
    (warning,) = measured_caveats(CONDITION, told, CLEAN)
    assert warning.kind is kind
    assert evidence in warning.evidence
    assert warning.subject in {CONDITION.id, "cloud/I"}


@pytest.mark.parametrize("spoil", [late, disturbed])
def test_one_block_in_twenty_is_no_warning(spoil):
    told = blocks()
    told[3] = spoil(told[3])
    assert measured_caveats(CONDITION, told, CLEAN) == []


def test_what_did_not_settle_is_named():
    outcome = replace(CLEAN, warm_up=WarmUp(blocks=30, unsettled=("cloud/I", "cloud/Q")))
    (warning,) = measured_caveats(CONDITION, blocks(), outcome)
    assert warning.kind is WarningKind.NOT_SETTLED
    assert "2 strategies were still drifting after 30 warm-up blocks: cloud/I, cloud/Q" in (
        warning.evidence
    )


def test_a_tier_measured_without_its_limit_says_which_limit():
    (warning,) = crowded_caveats([Tier("mobile", memory_bytes=512 * 2**20)])
    assert warning.kind is WarningKind.NO_MEMORY_LIMIT
    assert warning.subject == "mobile"
    assert "fits the 512 MiB of tier mobile alone" in warning.evidence
    assert "`operators: {use: ...}`" in warning.advice


@pytest.mark.parametrize(
    ("quantity", "asked", "within", "off", "kind"),
    [
        ("cpu factor", 0.5, (0.46, 0.54), (0.44, 0.56), WarningKind.CPU_OFF),
        ("bandwidth_bit_per_s", 10e6, (9.1e6, 10.9e6), (8.9e6, 11.1e6), WarningKind.LINK_OFF),
        ("rtt_s", 0.05, (0.0455, 0.0545), (0.0445, 0.0555), WarningKind.LINK_OFF),
        ("rtt_s", 0.0, (0.0009,), (0.0011,), WarningKind.LINK_OFF),
    ],
)
def test_what_was_not_achieved_within_ten_percent_is_a_warning(quantity, asked, within, off, kind):
    def told(achieved):
        probe = ProbeFigure("edge", quantity, asked, achieved, "how it was kept")
        return probe_caveats([probe], CONDITION)

    assert [told(achieved) for achieved in within] == [[] for _ in within]
    for achieved in off:
        (warning,) = told(achieved)
        assert (warning.kind, warning.subject) == (kind, "edge")
        assert "how it was kept" in warning.evidence
