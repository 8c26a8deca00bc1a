"""The user-space shaper: relays that let bytes through when a real link would have.

One process stands between all tiers. Every ordered pair of tiers that has a link between has a
listening socket of its own here; what is read from a connection is scheduled on each link that it
crosses: it leaves a link when the link has had time to send everything before it and itself
(a virtual clock, so a late wake-up is made good by the next one and there is no bucket to drain),
and arrives half a round trip later. A link is shared by everyone who crosses it.

What this cannot show: packet headers, TCP's own slow start over the link, loss.
"""

import errno
import heapq
import select
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.lateness import Lateness
from tierwise.tiers.emulated.linux import wake_on_time

# A link accepts bytes as long as it is busy for less than this: the sender's queue before it.
# heuristic: two wake-ups of a busy machine; more would let one connection hold up the others.
_QUEUE_S = 0.002
# What is forwarded at a time lasts this long on the link, so that a reader sees bytes trickle in
# as from a real one; never less than a packet. heuristic.
_CHUNK_S = 0.0005
_PACKET_BYTES = 1448
_MOST_BYTES = 65536
_FASTEST_BIT_PER_S = 1e12  # stands for "unlimited"


@dataclass
class _Direction:
    """One direction of a link."""

    bandwidth_bit_per_s: float = _FASTEST_BIT_PER_S
    delay_s: float = 0.0
    cut: bool = False
    busy_until: float = 0.0

    def cross(self, start: float, size: int) -> float:
        """When the last of ``size`` bytes that reach this end at ``start`` is at the other."""
        self.busy_until = max(start, self.busy_until) + size * 8 / self.bandwidth_bit_per_s
        return self.busy_until + self.delay_s


@dataclass(frozen=True)
class Route:
    """Where the connections to one listening socket go.

    Attributes:
        listener: A listening socket.
        path: Links crossed on the way to the target, as ``(link name, "forth" or "back")``.
    """

    listener: socket.socket
    path: tuple[tuple[str, str], ...]


@dataclass(eq=False)
class _Flow:
    """One direction of one connection."""

    source: socket.socket
    sink: socket.socket
    path: tuple[_Direction, ...]
    not_before: float
    waiting: deque[bytes] = field(default_factory=deque)
    sink_ready: bool = False  # connected
    ended: bool = False  # the source has no more
    done: bool = False  # the sink has been told so
    blocked: bool = False  # the sink takes nothing at the moment

    def chunk_bytes(self) -> int:
        rate = min((link.bandwidth_bit_per_s for link in self.path), default=_FASTEST_BIT_PER_S)
        return int(min(_MOST_BYTES, max(_PACKET_BYTES, rate * _CHUNK_S / 8)))

    def open_at(self) -> float:
        """When the path takes more; infinite while a link is cut."""
        if any(link.cut for link in self.path):
            return float("inf")
        before_s, earliest = 0.0, 0.0
        for link in self.path:
            earliest = max(earliest, link.busy_until - before_s - _QUEUE_S)
            before_s += link.delay_s
        return earliest


class Relay:
    """The loop of the relay process."""

    def __init__(self, control: Channel, routes: Sequence[Route], links: Sequence[str]) -> None:
        """Serve ``routes`` until ``control`` is closed."""
        self._control = control
        self._routes = routes
        self._directions = {(n, way): _Direction() for n in links for way in ("forth", "back")}
        self._targets: dict[int, tuple[str, int]] = {}
        self._flows: list[_Flow] = []
        self._due: list[tuple[float, int, _Flow, bytes]] = []
        self._sequence = 0
        self._late = Lateness()

    def run(self) -> None:
        """Relay until the keeper closes the control channel."""
        wake_on_time()
        control = self._control.socket
        for route in self._routes:
            route.listener.settimeout(0)
        while True:
            now = time.monotonic()
            readers, wake = self._readers(now)
            writers = [f.sink for f in self._flows if f.blocked or not f.sink_ready]
            timeout = None if wake is None else max(0.0, wake - now)
            listeners = [route.listener for route in self._routes]
            # select(2): the only one with microseconds on Linux and macOS alike
            readable, writable, _ = select.select(
                [control, *listeners, *readers], writers, [], timeout
            )
            if control in readable and not self._obey():
                return
            self._deliver(set(writable))
            for index, route in enumerate(self._routes):
                if route.listener in readable:
                    self._accept(index, route)
            for ready in readable:
                flow = readers.get(ready)
                if flow is not None:
                    self._read(flow)
            self._forget_finished()
            if wake is not None and wake > now and not (readable or writable):
                self._late.was(time.monotonic() - wake)

    def _readers(self, now: float) -> tuple[dict[socket.socket, _Flow], float | None]:
        """Who may be read at the moment, and when to look again."""
        wakes = [self._due[0][0] - self._late.usual_s] if self._due else []
        readers = {}
        for flow in self._flows:
            if flow.ended or flow.blocked:
                continue
            opens = flow.open_at()
            if opens <= now:
                readers[flow.source] = flow
            elif opens != float("inf"):
                wakes.append(opens)
        return readers, min(wakes, default=None)

    def _obey(self) -> bool:
        """Carry out one message of the keeper; ``False`` when it is gone."""
        try:
            message, _ = self._control.receive()
        except EOFError:
            return False
        for index, address in message.get("targets", {}).items():
            self._targets[int(index)] = (address[0], address[1])
        for (link, _), direction in self._directions.items():
            shape = message.get("shapes", {}).get(link)
            if shape is not None:
                direction.bandwidth_bit_per_s = shape["bandwidth_bit_per_s"] or _FASTEST_BIT_PER_S
                direction.delay_s = shape["rtt_s"] / 2
                direction.busy_until = 0.0
            direction.cut = message.get("cut", {}).get(link, direction.cut)
        self._control.send({})
        return True

    def _accept(self, index: int, route: Route) -> None:
        try:
            client, _ = route.listener.accept()
        except BlockingIOError:
            return
        if index not in self._targets:
            client.close()
            return
        forth = tuple(self._directions[step] for step in route.path)
        back = tuple(
            self._directions[link, "back" if way == "forth" else "forth"]
            for link, way in reversed(route.path)
        )
        server = socket.socket()
        for end in (client, server):
            end.settimeout(0)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.connect_ex(self._targets[index])
        # The three-way handshake would have cost one round trip; here it was free, so the first
        # byte pays for it.
        opened = time.monotonic() + sum(link.delay_s for link in forth + back)
        self._flows.append(_Flow(client, server, forth, opened))
        self._flows.append(_Flow(server, client, back, 0.0, sink_ready=True))

    def _read(self, flow: _Flow) -> None:
        now = time.monotonic()
        if flow.ended or flow.open_at() > now:
            return
        try:
            data = flow.source.recv(flow.chunk_bytes())
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return  # still connecting
            data = b""
        arrives = max(now - self._late.usual_s, flow.not_before)
        for link in flow.path:
            arrives = link.cross(arrives, len(data))
        flow.not_before = max(flow.not_before, arrives - sum(link.delay_s for link in flow.path))
        flow.ended = not data
        self._sequence += 1
        heapq.heappush(self._due, (arrives, self._sequence, flow, data))

    def _deliver(self, writable: set[socket.socket]) -> None:
        touched = set()
        for flow in self._flows:
            if flow.sink in writable:
                flow.blocked = False
                if not flow.sink_ready:
                    self._connected(flow)
                touched.add(flow)
        now = time.monotonic() + self._late.usual_s
        while self._due and self._due[0][0] <= now:
            _, _, flow, data = heapq.heappop(self._due)
            flow.waiting.append(data)
            touched.add(flow)
        for flow in touched:
            self._flush(flow)

    def _connected(self, flow: _Flow) -> None:
        flow.sink_ready = True
        if flow.sink.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            self._abort(flow)

    def _flush(self, flow: _Flow) -> None:
        while flow.waiting and flow.sink_ready and not flow.blocked:
            data = flow.waiting[0]
            try:
                if not data:
                    flow.sink.shutdown(socket.SHUT_WR)
                    flow.done = True
                    sent = 0
                else:
                    sent = flow.sink.send(data)
            except (BlockingIOError, InterruptedError):
                flow.blocked = True
                return
            except OSError:
                self._abort(flow)
                return
            if sent == len(data):
                flow.waiting.popleft()
            else:
                flow.waiting[0] = data[sent:]

    def _abort(self, flow: _Flow) -> None:
        """One side is gone: end both directions of the connection."""
        for other in self._flows:
            if other.source in (flow.source, flow.sink):
                other.ended = other.done = True
                other.blocked = False
                other.sink_ready = True
                other.waiting.clear()

    def _forget_finished(self) -> None:
        done = {flow.source for flow in self._flows if flow.done}
        finished = [flow for flow in self._flows if flow.done and flow.sink in done]
        if not finished:
            return
        for flow in finished:
            flow.source.close()
        gone = set(map(id, finished))
        self._flows = [flow for flow in self._flows if id(flow) not in gone]
        self._due = [entry for entry in self._due if id(entry[2]) not in gone]
        heapq.heapify(self._due)


def paths(names: Sequence[str]) -> Mapping[tuple[str, str], tuple[tuple[str, str], ...]]:
    """Links crossed between every ordered pair of different tiers of the chain ``names``."""
    found = {}
    for i, source in enumerate(names):
        for j, target in enumerate(names):
            low, high = min(i, j), max(i, j)
            steps = [f"{names[k]}-{names[k + 1]}" for k in range(low, high)]
            if i < j:
                found[source, target] = tuple((step, "forth") for step in steps)
            elif i > j:
                found[source, target] = tuple((step, "back") for step in reversed(steps))
    return found
