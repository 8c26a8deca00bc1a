"""Packets are taken out of a namespace and put into another as a wire would have them."""

import itertools
import socket
import struct
import time
from contextlib import closing

import pytest

from tierwise.tiers.emulated import kernel_links
from tierwise.tiers.emulated.linux import inside
from tierwise.tiers.emulated.packets import ETHERNET_BYTES

pytestmark = pytest.mark.netns
HEADERS_BYTES = ETHERNET_BYTES + 20 + 8  # IP, UDP
UDP_SEGMENT = 103  # linux/udp.h: the size at which the kernel cuts what is sent in one go
SINK = (kernel_links.address(1), 9)


class Pair:
    """Two namespaces; what one sends to the other comes to its port, and nobody carries it on."""

    def __init__(self):
        self._links = kernel_links.KernelLinks(["mobile", "edge"])
        self.netlink = self._links._netlink
        made = [self._links._port(tier, "line") for tier in (0, 1)]
        self.devices, self.ports = zip(*made, strict=True)
        for tier, device in enumerate(self.devices):
            beyond, own = kernel_links.address(1 - tier), kernel_links.address(tier)
            self.netlink[tier].route("replace", dst=f"{beyond}/32", oif=device, prefsrc=own)

    def udp(self, tier):
        with inside(self._links.namespaces[tier]):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(10)
        made.bind((kernel_links.address(tier), 0))
        return made

    def taken(self, count):
        """What the first of them sent."""
        found = []
        until = time.monotonic() + 10
        while len(found) < count and time.monotonic() < until:
            found += self.ports[0].take(64)
        return found

    def close(self):
        for port in self.ports:
            port.close()
        self._links.close()


@pytest.fixture
def pair(lab):
    lab.start(lab.pair, backend="root").close()  # or skips
    with closing(Pair()) as made:
        yield made


def test_a_window_that_comes_at_once_waits_whole_in_order_and_with_its_times(pair):
    count, size = 6000, 1400  # 8 MB, more than a connection ever has under way
    for _ in range(3):  # more than the ring has frames
        with pair.udp(0) as sender:
            before = time.monotonic()
            for number in range(count):
                sender.sendto(struct.pack("I", number) + bytes(size - 4), SINK)
            after = time.monotonic()
        found = pair.taken(count)
        numbers = [struct.unpack_from("I", packet, HEADERS_BYTES)[0] for _, packet in found]
        assert numbers == list(range(count))
        assert {len(packet) for _, packet in found} == {HEADERS_BYTES + size}
        times = [sent for sent, _ in found]
        # two clocks are read one after the other, so a time may be some microseconds off
        assert before - 0.001 < times[0] < times[-1] < after + 0.001
        assert all(later > earlier - 0.001 for earlier, later in itertools.pairwise(times))
        assert pair.ports[0].take(64) == []


def test_what_finds_the_ring_full_is_counted_as_lost(pair):
    count = 20_000
    for times in (1, 2):
        with pair.udp(0) as sender:
            for _ in range(count):
                sender.sendto(b"!", SINK)
        kept = len(pair.taken(16_384))
        assert 16_000 < kept <= 16_384
        assert pair.ports[0].take(64) == []
        assert pair.ports[0].dropped() == times * (count - kept)
    assert pair.ports[0].dropped() == 2 * (count - kept), "asking counts nothing"
    assert pair.ports[1].dropped() == 0


def test_what_is_sent_in_one_go_comes_in_packets_with_their_checksums(pair):
    with pair.udp(0) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        sender.sendto(bytes(range(250)) * 40, SINK)
    found = [packet for _, packet in pair.taken(10)]
    assert [len(packet) for packet in found] == [HEADERS_BYTES + 1000] * 10
    for packet in found:
        ip = packet[ETHERNET_BYTES:]
        assert internet_sum(ip[:20]) == 0xFFFF
        # with the addresses, the protocol and the length of what follows IP's header
        assert internet_sum(ip[12:] + struct.pack("!HH", 17, len(ip) - 20)) == 0xFFFF


def test_what_is_put_in_is_received_and_does_not_come_out_again(pair):
    with pair.udp(0) as sender, pair.udp(1) as receiver:
        sender.sendto(b"over there", receiver.getsockname())
        ((_, packet),) = pair.taken(1)
        pair.ports[1].put(packet)
        assert receiver.recvfrom(100) == (b"over there", sender.getsockname())
        assert pair.ports[1].take(64) == []


def test_what_is_put_into_a_device_that_is_down_is_lost(pair):
    with pair.udp(0) as sender:
        sender.sendto(b"!", SINK)
    ((_, packet),) = pair.taken(1)
    inner = pair.netlink[1].link_lookup(ifname="line-end")[0]
    pair.netlink[1].link("set", index=inner, state="down")
    pair.ports[1].put(packet)


def internet_sum(data):
    """Of 16-bit words, the carry added: all ones where a checksum in it is right (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
