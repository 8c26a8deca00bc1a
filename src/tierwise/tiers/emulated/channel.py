"""Messages between the study's process and the keeper: JSON lines, file descriptors beside them."""

import array
import json
import socket
from collections.abc import Sequence
from typing import Any, cast

_MOST_DESCRIPTORS = 4
_COUNT = "descriptors"
Message = dict[str, Any]


class Channel:
    """One end of a connected Unix stream socket. Blocking; one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        """Take over ``end``."""
        self.socket = end
        self._received = b""
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """For :mod:`selectors`."""
        return self.socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send ``message``; the receiver gets copies of ``descriptors``."""
        # The stream may join messages, so each says how many descriptors are its own.
        line = json.dumps({**message, _COUNT: len(descriptors)}).encode() + b"\n"
        sent = (
            self.socket.sendmsg(
                [line],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))],
            )
            if descriptors
            else 0
        )
        self.socket.sendall(line[sent:])

    def receive(self) -> tuple[Message, list[int]]:
        """The next message and its descriptors.

        Raises:
            EOFError: the other end is closed or its process died.
        """
        while b"\n" not in self._received:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, 65536, _MOST_DESCRIPTORS)
            except ConnectionResetError as error:
                raise EOFError from error
            self._descriptors += descriptors
            if not data:
                raise EOFError
            self._received += data
        line, self._received = self._received.split(b"\n", 1)
        message = cast("Message", json.loads(line))
        count = message.pop(_COUNT)
        passed, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return message, passed

    @property
    def buffered(self) -> bool:
        """Whether a whole message is here already, which a selector would not tell."""
        return b"\n" in self._received

    def close(self) -> None:
        """Close this end; idempotent."""
        self.socket.close()
