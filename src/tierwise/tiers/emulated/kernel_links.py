"""Links between namespaces: one for each tier; for each link a veth pair, and a process.

Every tier has one address of its own, on its loopback device; the tiers in the middle forward. A
link that is shaped goes through a process that holds each packet back for as long as rate and delay
say (:mod:`.delay`); it takes packets from a veth pair at either end, and puts them in there. What
that process can't do goes over the veth pair between the tiers: no shape at all, rates too high for
it (a token bucket, tbf, at both ends), and jitter and loss (netem, where the kernel has it). Which
way is a matter of routes, so connections survive the change.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import TC_H_ROOT

from tierwise.errors import EnvironmentFault
from tierwise.tiers.emulated import delay
from tierwise.tiers.emulated.linux import inside, new_network_namespace
from tierwise.tiers.emulated.packets import ETHERNET_BYTES, PacketPort, send_as_on_a_wire
from tierwise.tiers.topology import LinkShape

_MTU = 1500
# What a full packet carries of TCP payload (20 bytes IP, 32 bytes TCP with timestamps), and what
# is counted of it: by the bucket 14 bytes more, of Ethernet, by the delay line none. The rate is
# raised by this, so that the rate asked for is what the payload gets.
_PAYLOAD_BYTES = _MTU - 52
_VETH_OVERHEAD = (_MTU + ETHERNET_BYTES) / _PAYLOAD_BYTES
_LINE_OVERHEAD = _MTU / _PAYLOAD_BYTES
# The bucket must hold a packet, and what the link sends until a late timer comes; more lets short
# messages through too fast. With two packets at least, 50 KB after a pause were 6% too fast at
# any rate (benchmarks/emulation.py).
_BUCKET_S = 0.0003
_PACKET_BYTES = _MTU + ETHERNET_BYTES
# tbf's rate is a 32-bit number of bytes per second: just below is what "unlimited" means here.
_FASTEST_BYTES_PER_S = 4e9
_UNLIMITED_BUCKET_BYTES = 4 * 2**20
# The delay line moves a packet in some 20 microseconds on one core; above this a token bucket is
# closer, whose one free packet is then 40 microseconds or less. heuristic.
_FASTEST_BY_HAND_BIT_PER_S = 300e6
# A queue that a single sender never fills (the kernel's send buffer ends at 4-6 MB), so that no
# packet is lost unless loss was asked for.
_QUEUE_BYTES = 32 * 2**20
# Of the pairs at the delay lines. All outer ends have the same address, so that a packet taken from
# one is for the other, by which it comes in; no inner end has it, so there the kernel drops it.
_OUTER, _INNER = "02:00:00:00:00:01", "02:00:00:00:00:02"

_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    # A link is a rate and a delay, here as in predictions. Without this an idle connection starts
    # slowly again, and a request after a pause would not be comparable with one without.
    "net/ipv4/tcp_slow_start_after_idle": "0",
    # What one condition taught the kernel about a destination must not leak into the next.
    "net/ipv4/tcp_no_metrics_save": "1",
    # In every kernel and allowed in every namespace (cubic isn't); and on a link without loss it
    # only ever opens its window, where bbr and cubic guess at the rate and pace.
    "net/ipv4/tcp_congestion_control": "reno",
}

_UNSHAPED = LinkShape()


def address(index: int) -> str:
    """Address of the tier at this place in the chain: the same in every run, seen nowhere else."""
    return f"10.77.0.{index + 1}"


@dataclass
class _End:
    """One end of a link."""

    tier: int  # whose namespace
    veth: int  # interface index
    line: int  # the outer end of the delay line's pair


@dataclass
class _Link:
    name: str
    near: _End
    far: _End
    delay_line: delay.DelayLine
    shape: LinkShape = _UNSHAPED
    cut: bool = False


class KernelLinks:
    """Namespaces of a chain of tiers and the links between neighbours.

    Only for a single-threaded process: it moves between namespaces. Everything made ends with
    the process, since nothing has a name outside.
    """

    def __init__(self, tiers: Sequence[str]) -> None:
        """Make it all; :class:`OSError` where that is not allowed, or the kernel can't."""
        self.namespaces = [new_network_namespace() for _ in tiers]
        self._netlink: list[IPRoute] = []
        with _needing("namespaces"):
            for index, namespace in enumerate(self.namespaces):
                self._netlink.append(_furnish(namespace, address(index)))
            self.has_netem = self._can_queue("netem", delay=1000)
            self._links = [self._connect(i, f"{a}-{b}") for i, (a, b) in enumerate(pairwise(tiers))]
        for link in self._links:
            self._apply(link, link.shape)

    @property
    def backend(self) -> str:
        """What shapes the links, in words."""
        return "AF_PACKET + own shaper, veth + tbf" + (" + netem" if self.has_netem else "")

    def workers(self) -> tuple[int, ...]:
        """Process ids of the delay lines."""
        return tuple(link.delay_line.pid for link in self._links)

    def shape(self, shapes: Mapping[str, LinkShape]) -> None:
        """Give every named link its shape, in place."""
        for link in self._links:
            if link.name in shapes:
                self._apply(link, shapes[link.name])

    def set_cut(self, name: str, *, cut: bool) -> None:
        """Drop everything on the link, or no longer."""
        for link in self._links:
            if link.name == name:
                link.cut = cut
                self._apply(link, link.shape)

    def dropped_packets(self) -> dict[str, int]:
        """Packets that each link lost so far, though nobody asked for loss."""
        return {link.name: link.delay_line.dropped_packets() for link in self._links}

    def close(self) -> None:
        """End the delay lines and let the namespaces go."""
        for link in self._links:
            link.delay_line.close()
        for netlink in self._netlink:
            netlink.close()
        for namespace in self.namespaces:
            os.close(namespace)
        self._links, self._netlink, self.namespaces = [], [], []

    def _can_queue(self, discipline: str, **options: int) -> bool:
        """Whether the kernel has the queueing discipline: tried on a loopback device."""
        loopback = self._netlink[0].link_lookup(ifname="lo")[0]
        try:
            self._netlink[0].tc("add", discipline, index=loopback, **options)
        except NetlinkError:
            return False
        # Not pyroute2's root=True: that asks for handle 1:, which this one has not (EINVAL).
        self._netlink[0].tc("del", index=loopback, parent=TC_H_ROOT)
        return True

    def _connect(self, near: int, name: str) -> _Link:
        far = near + 1
        with _needing("veth"):
            self._netlink[near].link(
                "add",
                ifname="far",
                kind="veth",
                mtu=_MTU,
                peer={"ifname": "near", "mtu": _MTU, "net_ns_fd": self.namespaces[far]},
            )
        veths = [
            self._netlink[tier].link_lookup(ifname=ifname)[0]
            for tier, ifname in ((near, "far"), (far, "near"))
        ]
        hardware = [
            self._netlink[tier].get_links(veth)[0].get("address")
            for tier, veth in ((near, veths[0]), (far, veths[1]))
        ]
        # Fixed neighbours: no address resolution in anyone's latency.
        for tier, veth, other, mac in (
            (near, veths[0], far, hardware[1]),
            (far, veths[1], near, hardware[0]),
        ):
            netlink = self._netlink[tier]
            netlink.link("set", index=veth, state="up", txqlen=1000)
            netlink.neigh("add", dst=address(other), lladdr=mac, ifindex=veth, state="permanent")
        (forth, near_port), (back, far_port) = (
            self._port(near, "far-line"),
            self._port(far, "near-line"),
        )
        line = delay.DelayLine.between(near_port, far_port)
        return _Link(name, _End(near, veths[0], forth), _End(far, veths[1], back), line)

    def _port(self, tier: int, outer: str) -> tuple[int, PacketPort]:
        """A veth pair inside ``tier``: the outer end's index, and the port of a delay line."""
        netlink, inner = self._netlink[tier], f"{outer}-end"
        netlink.link(
            "add",
            ifname=outer,
            kind="veth",
            mtu=_MTU,
            address=_OUTER,
            peer={"ifname": inner, "mtu": _MTU, "address": _INNER},
        )
        indices = [netlink.link_lookup(ifname=ifname)[0] for ifname in (outer, inner)]
        for index in indices:
            # without ARP packets are addressed to the sender's own address: the receiver's too
            netlink.link("set", index=index, arp=False, state="up")
        with inside(self.namespaces[tier]):
            send_as_on_a_wire(outer)
            return indices[0], PacketPort(outer, inner)

    def _apply(self, link: _Link, shape: LinkShape) -> None:
        if shape.uneven and not self.has_netem:
            raise EnvironmentFault(
                f"Link {link.name} asks for jitter or loss, and this kernel has no netem.",
                hint="Load it (`modprobe sch_netem`) or leave jitter and loss out.",
                link=link.name,
            )
        through_line = self._through_line(shape)
        rate = shape.bandwidth_bit_per_s
        link.delay_line.shape(
            None if rate is None else rate / 8 * _LINE_OVERHEAD, shape.rtt_s / 2, cut=link.cut
        )
        with _needing("queues and routes"):
            for end, other in ((link.near, link.far), (link.far, link.near)):
                self._limit(end.tier, end.veth, shape, cut=link.cut)
                self._route(end, other, through_line=through_line)
        link.shape = shape

    def _through_line(self, shape: LinkShape) -> bool:
        if shape.uneven:
            return False
        rate = shape.bandwidth_bit_per_s
        if rate is not None and rate <= _FASTEST_BY_HAND_BIT_PER_S:
            return True
        return shape.rtt_s > 0 and not self.has_netem

    def _limit(self, tier: int, device: int, shape: LinkShape, *, cut: bool) -> None:
        netlink = self._netlink[tier]
        parent: dict[str, str] = {}
        if self.has_netem:
            netlink.tc(
                "replace",
                "netem",
                index=device,
                handle="1:",
                delay=round(shape.rtt_s / 2 * 1e6),
                jitter=round(shape.jitter_s * 1e6),
                loss=shape.loss * 100,
                limit=_QUEUE_BYTES // _MTU,
            )
            parent = {"parent": "1:1"}
        rate = shape.bandwidth_bit_per_s
        # a rate per second of bytes; buckets hold what a late timer would otherwise lose
        bytes_per_s = _FASTEST_BYTES_PER_S if rate is None else rate / 8 * _VETH_OVERHEAD
        bucket = (
            _UNLIMITED_BUCKET_BYTES if rate is None else _PACKET_BYTES + bytes_per_s * _BUCKET_S
        )
        with _needing("tbf"):
            netlink.tc(
                "replace",
                "tbf",
                index=device,
                handle="10:",
                rate=min(math.ceil(bytes_per_s), int(_FASTEST_BYTES_PER_S)),
                burst=math.ceil(bucket),
                # a queue of one byte takes no packet: nothing goes through, and nobody is told
                limit=1 if cut else _QUEUE_BYTES,
                **parent,
            )

    def _route(self, end: _End, other: _End, *, through_line: bool) -> None:
        """Everything beyond ``end``'s link goes over its veth, or its delay line."""
        beyond = (
            range(other.tier, len(self.namespaces))
            if other.tier > end.tier
            else range(other.tier + 1)
        )
        for tier in beyond:
            way = (
                {"oif": end.line}
                if through_line
                else {"oif": end.veth, "gateway": address(other.tier), "flags": ["onlink"]}
            )
            self._netlink[end.tier].route(
                "replace", dst=f"{address(tier)}/32", prefsrc=address(end.tier), **way
            )


@contextmanager
def _needing(feature: str) -> Iterator[None]:
    """Have the kernel's refusal say which of its features, often modules, was asked for."""
    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, f"{feature}: {os.strerror(error.code)}") from error


def _furnish(namespace: int, own_address: str) -> IPRoute:
    """Set a new namespace up for a tier; gives the way to change more in it."""
    with inside(namespace):
        for name, value in _SETTINGS.items():
            (Path("/proc/sys") / name).write_text(value)
        netlink = IPRoute()
    loopback = netlink.link_lookup(ifname="lo")[0]
    netlink.link("set", index=loopback, state="up")
    netlink.addr("add", index=loopback, address=own_address, prefixlen=32)
    return netlink
