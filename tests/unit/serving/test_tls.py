"""Files of certificates that cannot be used, and what is said of connections that fail."""

import re
import ssl
import subprocess

import pytest
from tests.certificates import certificate

from tierwise.errors import UserError
from tierwise.serving.stage import HopTls, NextHop, StageSpec
from tierwise.serving.tls import advise, client_tls, hop_files, hop_tls, server_tls
from tierwise.tiers.topology import SYSTEM_TLS, TlsFiles


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pem")
    mine, key = certificate(folder, "mine")
    _, other = certificate(folder, "other")
    both, locked = folder / "both.pem", folder / "locked.key"
    both.write_text(mine.read_text() + key.read_text())
    subprocess.run(
        ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(locked)],
        check=True, capture_output=True,
    )  # fmt: skip
    nothing = folder / "nothing.pem"
    return {"mine": mine, "key": key, "other": other, "both": both, "locked": locked,
            "nothing": nothing, None: None}  # fmt: skip


def test_a_certificate_and_its_key_may_be_one_file(pem):
    client_tls(pem["mine"], pem["both"])
    client_tls(pem["mine"], pem["mine"], pem["key"])


@pytest.mark.parametrize(
    ("ca", "cert", "key", "message"),
    [
        ("nothing", None, None, r"authority .*nothing\.pem cannot be used: no such file"),
        ("key", None, None, r"authority .*mine\.key cannot be used: it holds no certificate"),
        (None, "nothing", "key", r"certificate .*nothing\.pem .*: no such file"),
        (None, "mine", "nothing", r"with the key .*nothing\.pem cannot be used: no such file"),
        (None, "mine", None, r"mine\.pem cannot be used: it lacks a certificate or a private key"),
        (None, "mine", "other", r"the key belongs to another certificate"),
        (None, "mine", "locked", r"locked\.key is encrypted. Give it decrypted: `openssl pkey"),
    ],
)
def test_files_that_cannot_be_used_are_named(pem, ca, cert, key, message):
    with pytest.raises(UserError, match=message):
        client_tls(pem[ca], pem[cert], pem[key])
    if cert and key:
        with pytest.raises(UserError, match=message):
            server_tls(pem[cert], pem[key], None)


def test_a_private_key_goes_to_who_may_have_it_and_is_never_shown(pem):
    files = TlsFiles(pem["mine"], pem["mine"], pem["key"])
    assert hop_files(files, with_key=False) == HopTls(ca=pem["mine"].read_text())
    assert hop_files(SYSTEM_TLS, with_key=True) is None
    hop = NextHop(url="https://x", model="m", tls=hop_files(files, with_key=True))
    spec = StageSpec(name="m", artifact="0" * 64, next=hop)
    secret = pem["key"].read_text().splitlines()[1]
    assert secret in spec.to_json()
    assert secret not in repr(spec)


def test_files_arrive_as_they_are_whatever_their_comments(pem, tmp_path):
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes("Főtanúsítvány\n".encode("iso-8859-2") + pem["mine"].read_bytes())
    files = TlsFiles(bundle, pem["both"])
    for url, expected in (("https://x", True), ("http://x", False)):
        hop = NextHop(url=url, model="m", tls=hop_files(files, with_key=True))
        hop = NextHop.model_validate_json(hop.model_dump_json())  # as it travels
        context = hop_tls(hop, SYSTEM_TLS)
        assert (context is not None) is expected
    assert len(hop_tls(hop.model_copy(update={"url": "https://x"}), SYSTEM_TLS).get_ca_certs()) == 1


def _failed(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "refuses this client .* `client_cert`"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "refuses this client .* `client_cert`"),
        ("TLSV1_ALERT_UNKNOWN_CA", "refuses this client .* `client_cert`"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS Write http://"),
        ("UNSUPPORTED_PROTOCOL", "UNSUPPORTED_PROTOCOL Look at its standard error"),
    ],
)
def test_what_other_servers_say_is_understood(reason, message):
    assert re.search(message, " ".join(advise(_failed(reason))))
