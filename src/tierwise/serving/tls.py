"""TLS of both sides: contexts from PEM files, and what to do where a connection fails."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tierwise.disk import scratch_folder
from tierwise.errors import UserError
from tierwise.serving.stage import HopTls, NextHop
from tierwise.tiers.topology import SYSTEM_TLS, TlsFiles


class ClosedUnanswered(ssl.SSLError):
    """A new connection that the server closed before it answered: how asyncio's refuse clients."""


# OpenSSL's verification errors of an authority that is not known (X509_V_ERR_...).
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
# What servers other than asyncio's answer a client that shows no certificate, or a wrong one.
_REFUSED = {"SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_UNKNOWN_CA"}
# PEM is ASCII with comments in whatever encoding: every byte comes out as it went in.
_ENCODING = "latin-1"
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
_TRUST = (
    "Name the file of its authority: a study file's `ca` of the tier, or `tierwise serve "
    "--next-ca` of the agent that calls it."
)
_SHOW = (
    "Show it one of its `--tls-client-ca`: a study file's `client_cert` and `client_key` of the "
    "tier, or `tierwise serve --next-cert` and `--next-key` of the agent that calls it."
)


def server_tls(certificate: Path, key: Path, client_authority: Path | None) -> ssl.SSLContext:
    """TLS of a server; with ``client_authority``, clients must show a certificate of it.

    Raises:
        UserError: a file cannot be read, or doesn't hold what it must.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _show(context, certificate, key)
    if client_authority is not None:
        with _trusting(client_authority):
            context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(
    authority: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """TLS of a client that trusts ``authority`` (or the system's), with its own certificate.

    Raises:
        UserError: a file cannot be read, or doesn't hold what it must.
    """
    with _trusting(authority):
        context = ssl.create_default_context(cafile=authority)
    if certificate is not None:
        _show(context, certificate, key)
    return context


def tls_of(files: TlsFiles) -> ssl.SSLContext | None:
    """TLS of a client with ``files``, or ``None`` where there are none; as :func:`client_tls`."""
    return None if files == SYSTEM_TLS else client_tls(files.ca, files.cert, files.key)


def hop_tls(hop: NextHop, own: TlsFiles) -> ssl.SSLContext | None:
    """TLS of connections to a next hop: its own where a stage says it, else the agent's."""
    if not hop.url.startswith("https:"):
        return None
    if hop.tls is None:
        return tls_of(own)
    with scratch_folder() as folder:  # nobody else's; OpenSSL reads private keys from files only

        def file(name: str, text: str | None) -> Path | None:
            if text is None:
                return None
            path = folder / name
            path.write_text(text, _ENCODING)
            return path

        ca, cert, key = file("ca", hop.tls.ca), file("cert", hop.tls.cert), file("key", hop.tls.key)
        shown = (own.cert, own.key) if cert is None else (cert, key)
        return client_tls(ca or own.ca, *shown)


def hop_files(files: TlsFiles, *, with_key: bool) -> HopTls | None:
    """The content of ``files`` for another agent; its own certificate stays without the key."""
    if files == SYSTEM_TLS:
        return None

    def text(path: Path | None) -> str | None:
        return None if path is None else path.read_text(_ENCODING)

    cert, key = (text(files.cert), text(files.key)) if with_key else (None, None)
    return HopTls(ca=text(files.ca), cert=cert, key=key)


def advise(error: ssl.SSLError) -> tuple[str, str]:
    """What failed in a connection over TLS, as the client sees it, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        if error.verify_code in _UNKNOWN_AUTHORITY:
            return f"its certificate is not trusted ({why})", _TRUST
        return f"its certificate is not valid ({why})", (
            "Start it with a certificate that is, for the host in its address (subjectAltName)."
        )
    if isinstance(error, ClosedUnanswered):
        return (
            "it closed the connection without an answer",
            f"If it runs, it wants a certificate. {_SHOW}",
        )
    reason = error.reason or str(error)
    if reason in _NOT_TLS:
        return "it does not speak TLS", "Write http:// in its address, or start it with --tls-cert."
    if reason in _REFUSED or "CERTIFICATE" in reason:
        return f"it refuses this client ({reason.replace('_', ' ').lower()})", _SHOW
    return reason, "Look at its standard error."


@contextmanager
def _trusting(authority: Path | None) -> Iterator[None]:
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"The authority {authority} cannot be used: {_why(error)}.",
            hint="Give a PEM file with its certificate.",
        ) from error


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    def refuse() -> str:
        # OpenSSL would ask on the terminal, where nobody may be.
        raise UserError(
            f"The private key {key or certificate} is encrypted.",
            hint="Give it decrypted: `openssl pkey -in KEY -out NEW; chmod 600 NEW`.",
        )

    try:
        context.load_cert_chain(certificate, key, refuse)
    except (OSError, ssl.SSLError) as error:
        both = f"{certificate}" if key is None else f"{certificate} with the key {key}"
        raise UserError(
            f"The certificate {both} cannot be used: {_why(error)}.",
            hint="Give PEM files: a certificate and its private key.",
        ) from error


def _why(error: OSError) -> str:
    """``ssl``'s errors are of the operating system's kind, but have reasons of their own."""
    if not isinstance(error, ssl.SSLError):
        return str(error.strerror or error).lower()
    known = {
        "KEY_VALUES_MISMATCH": "the key belongs to another certificate",
        "NO_START_LINE": "it is not PEM",
        "NO_CERTIFICATE_OR_CRL_FOUND": "it holds no certificate",
        "PEM_LIB": "it lacks a certificate or a private key",
        "": "it lacks a certificate or a private key",  # as OpenSSL 3 says "PEM lib"
    }
    return known.get(error.reason or "", error.reason or "").replace("_", " ").lower()
