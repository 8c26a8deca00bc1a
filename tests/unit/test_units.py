import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.errors import UserError
from tierwise.units import (
    format_bandwidth,
    format_bytes,
    format_duration,
    parse_bandwidth_bit_per_s,
    parse_duration_s,
    parse_size_bytes,
)


def test_what_people_write_is_understood():
    assert parse_bandwidth_bit_per_s("200Mbit") == 200e6
    assert parse_bandwidth_bit_per_s("1 Gbit/s") == 1e9
    assert parse_duration_s("5ms") == 0.005
    assert parse_size_bytes("512MiB") == 512 * 2**20


@pytest.mark.parametrize("text", ["fast", "", "10", "Mbit", "-1Mbit", "10 parsecs"])
def test_a_bandwidth_that_is_none_names_the_value_and_an_example(text):
    with pytest.raises(UserError, match=r"is not a bandwidth.*10Mbit"):
        parse_bandwidth_bit_per_s(text)


def test_a_bandwidth_of_zero_is_refused():
    with pytest.raises(UserError, match="lets nothing through"):
        parse_bandwidth_bit_per_s("0Mbit")


@given(st.floats(1, 1e12))
def test_a_printed_bandwidth_can_be_read_again(rate):
    assert parse_bandwidth_bit_per_s(format_bandwidth(rate)) == pytest.approx(rate, rel=1e-3)


def test_quantities_are_printed_in_the_unit_that_reads_best():
    assert format_duration(0.0123) == "12.3 ms"
    assert format_duration(75) == "1 min 15 s"
    assert format_duration(240) == "4 min"
    assert format_bytes(1536) == "1.5 KiB"
