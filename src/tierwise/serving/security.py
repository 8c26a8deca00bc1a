"""Who may talk to an agent: loopback and token; :mod:`tierwise.serving.tls` has the rest."""

import hmac
import ipaddress
from collections.abc import Mapping
from pathlib import Path

from tierwise.errors import UserError
from tierwise.serving.faults import Unauthorized

# An emulated tier's address is private to its namespace, yet still not loopback: it has a token.
_SHORTEST_TOKEN = 16


def read_token(path: Path) -> str:
    """The token in a file, surrounding white space removed.

    Raises:
        UserError: the file cannot be read, or what it holds is no token.
    """
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The token file {path} cannot be read: {error}.",
            hint="Make one: `openssl rand -hex 32 > FILE; chmod 600 FILE`.",
        ) from error
    if len(token) < _SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise UserError(
            f"The token in {path} has {len(token)} characters; at least {_SHORTEST_TOKEN} "
            "printable ones without spaces are required.",
            hint="Make one: `openssl rand -hex 32 > FILE; chmod 600 FILE`.",
        )
    return token


def check_exposure(host: str, token: str | None) -> None:
    """Raise :class:`UserError` where anyone on the network could use the agent."""
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and token is None:
        raise UserError(
            f"Listening on {host} lets everyone who reaches it run models here.",
            hint="Add --token-file FILE (`openssl rand -hex 32 > FILE`), or listen on 127.0.0.1.",
        )


def check_token(headers: Mapping[str, str], token: str | None) -> None:
    """Raise :class:`Unauthorized` unless the request carries ``token``; in constant time."""
    if token is None:
        return
    scheme, _, given = headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode("utf-8"), token.encode("utf-8"))
    if scheme.lower() != "bearer" or not right:
        raise Unauthorized("Send the agent's token: 'Authorization: Bearer TOKEN'.")
