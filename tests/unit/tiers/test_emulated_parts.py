"""The parts of emulation that need no rights and no processes of their own."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.errors import EnvironmentFault, UserError
from tierwise.tiers import remote
from tierwise.tiers.emulated.agents import Limits, _ready_address
from tierwise.tiers.emulated.cgroups import _NAME
from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.linux import process_start
from tierwise.tiers.emulated.relay import _Direction, paths
from tierwise.tiers.emulated.shares import CpuShares
from tierwise.tiers.emulated.throttle import Share
from tierwise.tiers.running import Probe
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology


def test_a_path_crosses_the_links_in_order_and_the_way_back_in_the_other():
    found = paths(("mobile", "edge", "cloud"))
    assert found["mobile", "cloud"] == (("mobile-edge", "forth"), ("edge-cloud", "forth"))
    assert found["cloud", "mobile"] == (("edge-cloud", "back"), ("mobile-edge", "back"))
    assert len(found) == 6


@given(
    sizes=st.lists(st.integers(1, 65536), min_size=1, max_size=30),
    rate=st.floats(1e5, 1e9),
    delay_s=st.floats(0, 0.1),
)
def test_a_direction_sends_everything_in_the_time_that_its_rate_gives(sizes, rate, delay_s):
    direction = _Direction(bandwidth_bit_per_s=rate, delay_s=delay_s)
    arrivals = [direction.cross(100.0, size) for size in sizes]
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] == pytest.approx(100.0 + sum(sizes) * 8 / rate + delay_s)
    assert direction.crossed_bytes == sum(sizes)


def test_an_idle_direction_saves_nothing_up():
    direction = _Direction(bandwidth_bit_per_s=8e6)
    direction.cross(0.0, 1000)
    assert direction.cross(50.0, 1000) == pytest.approx(50.001)


def test_messages_arrive_whole_in_order_and_with_their_descriptors():
    near, far = map(Channel, socket.socketpair())
    near.send({"n": 1})
    near.send({"n": 2, "long": "x" * 30_000}, [near.fileno()])
    assert far.receive() == ({"n": 1}, [])
    message, (descriptor,) = far.receive()
    assert message["n"] == 2
    os.close(descriptor)
    near.close()
    with pytest.raises(EOFError):
        far.receive()
    far.close()


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ('{"listening": "http://127.0.0.1:1", "tier": "edge"}', "http://127.0.0.1:1"),
        ('{"listening": 8080}', None),
        ("[1]", None),
        ("loading the model", None),
    ],
)
def test_only_a_ready_line_is_a_ready_line(line, address):
    assert _ready_address(line) == address


def test_a_group_is_named_after_its_owner_for_good():
    start = process_start(os.getpid())
    match = _NAME.match(f"tierwise-{os.getpid()}-{start}-77-edge-memory")
    assert match is not None
    assert match.groups() == (str(os.getpid()), start, "77")
    assert process_start(2**22 + 1) is None  # beyond the most pids there can be


def test_a_share_without_processes_asks_for_nothing():
    share = Share(cpus=0.5)
    assert share.look(10.0) > 10.0
    share.watch([2**22 + 1])
    share.look(11.0)
    assert share.pids == []


def test_a_share_of_more_than_the_machine_says_what_to_write():
    shares = CpuShares("auto", [])
    with pytest.raises(EnvironmentFault, match=r"Tier cloud asks for 9999 CPUs.*`cpus: \d+`"):
        shares.prepare(Limits("cloud", 9999.0, None), os.getpid())


def test_a_probe_says_how_far_off_it_is():
    def off(asked, achieved):
        return Probe("edge", "rtt_s", asked, achieved, "x").relative_error

    assert off(0.010, 0.011) == pytest.approx(0.1)
    assert off(0.0, 0.0005) == pytest.approx(0.5)


def test_real_tiers_cannot_be_shaped_cut_or_restarted():
    topology = Topology((Tier("edge", url="http://a"), Tier("cloud", url="http://b/")))
    with remote.RemoteTopology(topology) as running:
        assert running.url("edge", "cloud") == "http://b"
        running.shape(NetworkCondition({"edge-cloud": LinkShape()}))
        with pytest.raises(UserError, match=r"edge-cloud is real.*10 Mbit/s"):
            running.shape(NetworkCondition({"edge-cloud": LinkShape(10e6)}))
        with pytest.raises(EnvironmentFault, match=r"must be started there.*serve --tier edge"):
            running.restart("edge")
        with pytest.raises(EnvironmentFault, match="can't be cut"):
            running.cut("edge-cloud")


def test_an_emulated_tier_is_not_a_real_one():
    with pytest.raises(UserError, match="mobile has no url"):
        remote.connect(Topology((Tier("mobile"),)))
