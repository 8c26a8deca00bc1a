import hmac

import pytest

from tierwise.errors import UserError
from tierwise.serving.faults import Unauthorized
from tierwise.serving.security import check_exposure, check_token, read_token

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "given",
    ["", TOKEN, f"Basic {TOKEN}", f"Token {TOKEN}", "Bearer", f"Bearer {TOKEN[:-1]}",
     f"Bearer {TOKEN}x", f"Bearer {TOKEN.upper()}", "Bearer \xe9"],
)  # fmt: skip
def test_anything_but_the_token_as_a_bearer_is_refused(given):
    with pytest.raises(Unauthorized, match="Authorization: Bearer TOKEN"):
        check_token({"authorization": given} if given else {}, TOKEN)


def test_the_token_is_taken_whatever_the_case_of_its_scheme():
    check_token({"authorization": f"Bearer {TOKEN}"}, TOKEN)
    check_token({"authorization": f"bearer  {TOKEN} "}, TOKEN)
    check_token({}, None)


def test_the_token_is_compared_in_constant_time(monkeypatch):
    # How long the comparison takes cannot be asserted; that it is left to hmac can.
    compared = []

    def compare(given, right):
        compared.append((given, right))
        return True

    monkeypatch.setattr(hmac, "compare_digest", compare)
    check_token({"authorization": "Bearer abc"}, TOKEN)
    with pytest.raises(Unauthorized):
        check_token({}, TOKEN)  # also where there is nothing to compare: no answer comes sooner
    assert compared == [(b"abc", TOKEN.encode()), (b"", TOKEN.encode())]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"short", "has 5 characters; at least 16"),
        (b"", "has 0 characters"),
        (b"0123456789 abcdef", "printable ones without spaces"),
        (b"0123456789\x07abcdef", "printable ones without spaces"),
        ("0123456789abcd\xe9f".encode(), "cannot be read"),
    ],
)
def test_a_token_that_is_none_is_refused(tmp_path, content, message):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as refused:
        read_token(file)
    assert "openssl rand -hex 32" in refused.value.hint


def test_a_token_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match="no-such-file cannot be read"):
        read_token(tmp_path / "no-such-file")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_what_others_can_reach_needs_a_token(host):
    with pytest.raises(UserError, match="lets everyone who reaches it"):
        check_exposure(host, None)
    check_exposure(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_none(host):
    check_exposure(host, None)
