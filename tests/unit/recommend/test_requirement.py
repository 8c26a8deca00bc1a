import pytest

from tierwise.errors import UserError
from tierwise.recommend.requirement import LinkMatch, Requirement
from tierwise.testing.results import made_up_results


def test_a_requirement_is_read_as_people_write_it():
    requirement = Requirement.parse(
        latency="p95=80ms",
        max_loss="1.0",
        max_memory="512MiB",
        when="edge-cloud=10Mbit,rtt=30ms; mobile-edge=1Gbit",
    )
    assert requirement.percentile == 95
    assert requirement.latency_s == pytest.approx(0.080)
    assert requirement.max_loss == 1.0
    assert requirement.max_memory_bytes == 512 * 2**20
    assert requirement.when == (
        LinkMatch("edge-cloud", 10e6, 0.030),
        LinkMatch("mobile-edge", 1e9, None),
    )


def test_a_latency_without_a_percentile_is_about_the_median():
    assert Requirement.parse(latency="80ms").percentile == 50


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"latency": "fast"}, "'fast' is not a duration"),
        ({"latency": "p95=fast"}, "'fast' is not a duration"),
        ({"latency": "p100=80ms"}, "'p100=80ms' is not a latency requirement.*p95=80ms"),
        ({"latency": "95=80ms"}, "'95=80ms' is not a latency requirement"),
        ({"latency": "p95=0ms"}, "can be met by nothing"),
        ({"latency": "p0=5ms"}, "can be met by nothing"),
        ({"max_loss": "little"}, "'little' is not a loss in points.*--max-loss 1.0"),
        ({"max_loss": "-1"}, "'-1' is not a loss in points"),
        ({"max_memory": "512"}, "'512' is not a size"),
        ({"max_memory": "0MiB"}, "No strategy runs in '0MiB'"),
        ({"when": "10Mbit"}, "'10Mbit' does not say when"),
        ({"when": "edge-cloud=fast"}, "'fast' is not a bandwidth"),
        ({"when": "edge-cloud=10Mbit,delay=3ms"}, "does not say when"),
        ({"when": ""}, "does not say when"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_what_to_write(flags, message):
    with pytest.raises(UserError, match=message):
        Requirement.parse(**flags)


def test_the_study_file_s_section_is_read_and_a_typing_error_in_it_is_named():
    section = {"latency": "p95=80ms", "max-loss": "2"}
    assert Requirement.from_mapping(section).max_loss == 2
    with pytest.raises(UserError, match=r"require: does not know 'latncy'.*latency, max_loss"):
        Requirement.from_mapping({"latncy": "p95=80ms"})


def test_what_is_asked_overrides_what_the_study_file_says_part_by_part():
    file = Requirement.parse(latency="p95=80ms", max_loss=1)
    asked = file.overridden_by(Requirement.parse(latency="p50=10ms"))
    assert (asked.percentile, asked.latency_s, asked.max_loss) == (50, 0.010, 1)


def test_conditions_are_chosen_by_bandwidth_and_round_trip_time():
    conditions = made_up_results(blocks=0, edge_cloud=("1Mbit", "10Mbit")).conditions
    assert Requirement().choose(conditions) == conditions
    named = Requirement.parse(when="mobile-edge=real network; edge-cloud=10Mbit").choose(conditions)
    assert named == Requirement.parse(when="edge-cloud=10Mbit").choose(conditions)
    chosen = Requirement.parse(when="edge-cloud=10Mbit,rtt=8ms").choose(conditions)
    assert chosen == conditions[1:]


def test_a_condition_that_was_not_measured_is_refused_naming_those_that_were():
    conditions = made_up_results(blocks=0, edge_cloud=("1Mbit", "10Mbit")).conditions
    with pytest.raises(UserError, match="no numbers for edge-cloud at 5 Mbit/s") as raised:
        Requirement.parse(when="edge-cloud=5Mbit").choose(conditions)
    assert "edge-cloud=1 Mbit/s" in raised.value.message
    assert "edge-cloud=10 Mbit/s" in raised.value.message
    with pytest.raises(UserError, match=r"no link 'edge-moon'.*mobile-edge, edge-cloud"):
        Requirement.parse(when="edge-moon=5Mbit").choose(conditions)


def test_a_requirement_in_words():
    words = str(Requirement.parse(latency="p95=80ms", max_loss=1, max_memory="512MiB"))
    assert words == "p95 at most 80 ms, at most 1 point lost, at most 512 MiB on any tier"
    assert str(Requirement()) == "none"
