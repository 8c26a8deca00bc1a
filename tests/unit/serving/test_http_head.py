import pytest

from tierwise.serving.faults import BadRequest
from tierwise.serving.http_head import parse_head


def _head(*lines: str, request: str = "POST /v2/models/m/infer HTTP/1.1") -> bytes:
    return "\r\n".join([request, "Host: x", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5", "content-length: 6"),
        ("Host: y",),
        ("Authorization: Bearer a", "Authorization: Bearer b"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(lines):
    with pytest.raises(BadRequest):
        parse_head(_head(*lines))


@pytest.mark.parametrize("length", ["-1", "+5", "5 6", "0x5", "1" * 19, "\u0661", "5.0", ""])
def test_a_length_that_is_no_number_of_bytes_is_refused(length):
    with pytest.raises(BadRequest):
        parse_head(
            _head(f"Content-Length: {length}")
            if length.isascii()
            else _head("Content-Length: ").replace(b"Length: ", b"Length: " + length.encode())
        )


def test_other_headers_that_come_twice_are_joined():
    head = parse_head(_head("X-A: 1", "X-A: 2", "Content-Length: 3"))
    assert head.request.headers["x-a"] == "1, 2"
    assert head.length == 3


def test_two_requests_in_one_head_are_refused():
    with pytest.raises(BadRequest):
        parse_head(_head("Content-Length: 0") * 2)
