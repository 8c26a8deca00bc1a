"""Probes: what an emulated tier or link achieves against what was asked of it."""

import math
import socket
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from tierwise.errors import EnvironmentFault
from tierwise.tiers.dialling import TIMEOUT_S
from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.peer import REQUEST, exchange
from tierwise.tiers.running import Probe
from tierwise.tiers.topology import Link, LinkShape, Tier

# A short inference and a longer one, as they take outside of the limit.
SHORT_S, LONG_S = 0.005, 0.04
_SHORT_TIMES, _LONG_TIMES = 11, 5
_ROUNDS_TO_CALIBRATE = 20_000
_PINGS = 5
_HEADERS_BYTES = 52  # IPv4 and TCP with timestamps; the relay in user space has no packets
# A direction of a link may take this long, so that a link takes less than 2 s with everything.
_TRANSFER_S = 0.25
_LEAST_BYTES = 4_000
_MOST_BYTES = 8_000_000
# What opens TCP's window before a rate can be seen: it doubles with each round trip, so it is as
# wide as the link is long once this many times its content was sent.
_OPENING = 3


class Probed(Protocol):
    """What a probe needs of emulated tiers."""

    @property
    def record(self) -> Mapping[str, str]:
        """What ran, as :attr:`RunningTopology.record`."""

    def start_peer(self, tier: str, *, limited: bool = True) -> tuple[int, Channel]:
        """A process for probes in ``tier``, or free on the tier's cores; see :mod:`.peer`."""

    def stop_peer(self, pid: int, channel: Channel) -> None:
        """End a process of :meth:`start_peer`."""

    def host(self, tier: str) -> str:
        """The address on which processes of ``tier`` listen."""

    def probe_address(self, link: str, far: str, port: int) -> tuple[str, int]:
        """Where a peer that listens on ``port`` in ``far`` is reached across ``link``."""

    def dial(
        self, source: str, host: str, port: int, timeout_s: float = TIMEOUT_S
    ) -> socket.socket:
        """A connected TCP socket, as :meth:`RunningTopology.dial`."""


def probe_cpu(emulation: Probed, tier: Tier) -> Probe:
    """Measure short and longer work; reports the one that is further off what was asked."""
    asked = tier.cpus or 1.0
    factors = [
        cpu_factor(emulation, tier.name, work_s, times, threads=math.ceil(asked))
        for work_s, times in ((SHORT_S, _SHORT_TIMES), (LONG_S, _LONG_TIMES))
    ]
    achieved = max(factors, key=lambda factor: abs(factor - asked))
    return Probe(tier.name, "cpu factor", asked, achieved, emulation.record[f"cpu@{tier.name}"])


def cpu_factor(emulation: Probed, tier: str, work_s: float, times: int, threads: int = 1) -> float:
    """Speed of work inside a tier relative to one core outside: median of ``times``, interleaved.

    The work takes ``work_s`` in one thread outside, on the same core, where processor time counts:
    what it would take there on an idle machine. (With the time that passed on both sides, a
    machine busy with something else makes the outside look slow and the limit generous.) Inside,
    as much in each of ``threads``, the time that passed counts, so a busy machine shows as less
    than was asked.
    """
    ratios = []
    with (
        peer_of(emulation, tier, limited=False) as outside,
        peer_of(emulation, tier) as inside,
    ):
        quickest_s = min(_work(outside, _ROUNDS_TO_CALIBRATE)["cpu_s"] for _ in range(3))
        rounds = max(1, round(_ROUNDS_TO_CALIBRATE * work_s / quickest_s))
        for _ in range(times):
            before_s = _work(outside, rounds)["cpu_s"]
            inside_s = _work(inside, rounds, threads)["wall_s"]
            after_s = _work(outside, rounds)["cpu_s"]
            ratios.append(threads * (before_s + after_s) / 2 / inside_s)
    return statistics.median(ratios)


def probe_link(emulation: Probed, link: Link, shape: LinkShape) -> list[Probe]:
    """Measure a link's round trip and the rate of both directions; reports the slower one."""
    backend = emulation.record["links"]
    with peer_of(emulation, link.far) as peer:
        peer.send({"listen": emulation.host(link.far)})
        port = peer.receive()[0]["port"]
        address = emulation.probe_address(link.name, link.far, port)
        with emulation.dial(link.near, *address) as connection:
            rtt_s = statistics.median(exchange(connection, 0, 1) for _ in range(_PINGS))
            rtt_s -= ping_bits(emulation) / (shape.bandwidth_bit_per_s or math.inf)
            probes = [Probe(link.name, "rtt_s", shape.rtt_s, rtt_s, backend)]
            rate = shape.bandwidth_bit_per_s
            if rate is not None:
                size = int(min(_MOST_BYTES, max(_LEAST_BYTES, rate / 8 * _TRANSFER_S)))
                opening = int(min(_MOST_BYTES, _LEAST_BYTES + _OPENING * rate / 8 * shape.rtt_s))
                exchange(connection, opening, 1)
                up_s = exchange(connection, size, 1) - rtt_s
                exchange(connection, 0, opening)
                down_s = exchange(connection, 0, size) - rtt_s
                achieved = size * 8 / max(up_s, down_s)
                probes.append(Probe(link.name, "bandwidth_bit_per_s", rate, achieved, backend))
    return probes


def ping_bits(emulation: Probed) -> int:
    """What a ping itself sends, there and back: on a slow link that takes time beside the delay."""
    has_packets = not emulation.record["links"].startswith("user-space relay")
    headers_bytes = 2 * _HEADERS_BYTES if has_packets else 0
    return 8 * (REQUEST.size + 1 + headers_bytes)


@contextmanager
def peer_of(emulation: Probed, tier: str, *, limited: bool = True) -> Iterator[Channel]:
    """A process in ``tier``, inside or outside of its limits, and the channel to it.

    Raises:
        EnvironmentFault: it ended while it was asked, or is not reached.
    """
    pid, channel = emulation.start_peer(tier, limited=limited)
    try:
        yield channel
    except (EOFError, OSError) as error:
        why = "the probe's process ended" if isinstance(error, EOFError) else str(error)
        raise EnvironmentFault(
            f"What tier {tier} and the link to it achieve cannot be probed: {why}.",
            hint="Run again; what is finished is kept.",
            tier=tier,
        ) from error
    finally:
        emulation.stop_peer(pid, channel)


def _work(peer: Channel, rounds: int, threads: int = 1) -> dict[str, float]:
    peer.send({"work": rounds, "threads": threads})
    return peer.receive()[0]
