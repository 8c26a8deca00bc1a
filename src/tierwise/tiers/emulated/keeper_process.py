"""The keeper as the study's process sees it: started, asked one thing at a time, ended."""

import itertools
import os
import socket
import subprocess
import sys
import threading
from typing import Any

from tierwise.errors import EnvironmentFault
from tierwise.tiers.emulated import cgroups
from tierwise.tiers.emulated.channel import Channel, Message

# How long the keeper may take to remove everything. heuristic: an agent gets 1 s to end.
_CLOSE_S = 15.0


class KeeperProcess:
    """A process that runs :mod:`.keeper`. Threads may share it."""

    def __init__(self) -> None:
        """Start it."""
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.keeper", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # its own session: Ctrl-C is for the study, which then closes the channel
                start_new_session=True,
            )
        self._channel = Channel(ours)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, what: str, **arguments: Any) -> tuple[Message, list[int]]:
        """One request and its reply, with the descriptors that came with it.

        Raises:
            EnvironmentFault: it cannot do that, or it died.
        """
        number = next(self._numbers)
        with self._lock:
            try:
                self._channel.send({"do": what, "id": number, **arguments})
                while True:
                    reply, descriptors = self._channel.receive()
                    if reply["id"] == number:
                        break
                    for descriptor in descriptors:  # the answer to an interrupted request
                        os.close(descriptor)
            except (EOFError, OSError) as error:
                raise EnvironmentFault(
                    "The process that keeps the emulated tiers died, and they died with it.",
                    hint="Run again; what is finished is kept.",
                ) from error
        if "error" in reply:
            raise EnvironmentFault(reply["error"], hint=reply["hint"])
        return reply, descriptors

    def close(self) -> None:
        """Have it remove everything, and wait for its end."""
        self._channel.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.returncode != 0:
            # It was killed: the kernel ended all it held, but for the control groups.
            cgroups.remove_stale(also_keeper=self._process.pid)
