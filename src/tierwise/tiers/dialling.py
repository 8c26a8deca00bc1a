"""TCP connections: from here, or as they would be made at a tier."""

import socket
from collections.abc import Callable

Dial = Callable[[str, int], socket.socket]
"""Host and port to a connected socket, which the caller closes."""
# heuristic: a lost SYN is sent again after 1 and 3 s, so two in a row may be lost.
TIMEOUT_S = 10.0


def dial(host: str, port: int, timeout_s: float = TIMEOUT_S) -> socket.socket:
    """A connection from this process's network; raises :class:`OSError`."""
    return _ready(socket.create_connection((host, port), timeout_s))


def dial_with(
    unconnected: socket.socket, host: str, port: int, timeout_s: float = TIMEOUT_S
) -> socket.socket:
    """Connect a socket of another network, to which it belongs for good.

    Raises:
        OSError: it cannot be connected; it is closed then.
    """
    try:
        unconnected.settimeout(timeout_s)
        unconnected.connect((host, port))
        return _ready(unconnected)
    except BaseException:
        unconnected.close()
        raise


def _ready(connection: socket.socket) -> socket.socket:
    """Blocking, and what is written goes at once: requests are written whole."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(None)
    return connection
