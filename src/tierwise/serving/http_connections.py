"""All connections of a server together: how many, how many bytes, until when."""

import time
from typing import Protocol

from tierwise.serving.faults import Overloaded
from tierwise.serving.http_application import Application
from tierwise.serving.lanes import Lanes
from tierwise.serving.limits import Limits


class OpenConnection(Protocol):
    """What the server as a whole asks of one connection."""

    deadline: float

    def time_out(self) -> None:
        """Its time is up."""

    def abort(self) -> None:
        """Close at once."""

    def close_if_idle(self) -> None:
        """Close unless a request is under way."""


class Connections:
    """All connections of one server: their limits and their clocks."""

    def __init__(self, application: Application, limits: Limits) -> None:
        """Serve ``application`` within ``limits``."""
        self.application = application
        self.limits = limits
        self.open: set[OpenConnection] = set()
        self.in_flight_bytes = 0
        self.draining = False
        self.lanes = Lanes(application.expect, lambda: application.under_way > 0, limits)

    def sweep(self) -> None:
        """Close every connection whose time is up; called about once a second."""
        now = time.perf_counter()
        for connection in [c for c in self.open if c.deadline < now]:
            connection.time_out()

    def reserve(self, size: int) -> None:
        """Count a body that will be held in memory; raises :class:`Overloaded`."""
        if self.in_flight_bytes + size > self.limits.max_in_flight_bytes:
            raise Overloaded(
                f"The agent holds {self.in_flight_bytes} bytes of other requests; "
                "send this one again later."
            )
        self.in_flight_bytes += size
