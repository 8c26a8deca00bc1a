"""The parts of emulation that need no rights and no processes of their own."""

import os
import platform
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.errors import EnvironmentFault, UserError
from tierwise.tiers import remote
from tierwise.tiers.emulated import awake, probing
from tierwise.tiers.emulated.agents import Limits, _ready_address
from tierwise.tiers.emulated.cgroups import _NAME
from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.cores import share_out
from tierwise.tiers.emulated.delay import _Way
from tierwise.tiers.emulated.lateness import Lateness
from tierwise.tiers.emulated.linux import IS_LINUX, process_start
from tierwise.tiers.emulated.relay import _Direction, paths
from tierwise.tiers.emulated.shares import CpuShares
from tierwise.tiers.running import Probe
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology

SLICES = IS_LINUX and tuple(map(int, platform.release().split(".")[:2])) >= (6, 12)


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


@given(
    sizes=st.lists(st.integers(40, 1500), min_size=1, max_size=30),
    rate=st.floats(1e5, 1e8),
    one_way_s=st.floats(0, 0.1),
)
def test_packets_take_as_long_as_a_wire_would_from_the_first_on(sizes, rate, one_way_s):
    way = _Way(0, 1, byte_s=1 / rate, one_way_s=one_way_s)
    way.through_at(5.0, 1500)  # long before: nothing is saved up
    through = [way.through_at(100.0, size) for size in sizes]
    assert through == sorted(through)
    assert through[0] == pytest.approx(100.0 + sizes[0] / rate + one_way_s)
    assert through[-1] == pytest.approx(100.0 + sum(sizes) / rate + one_way_s)


def test_a_packet_never_overtakes_those_that_wait():
    way = _Way(0, 1, one_way_s=0.1)
    way.queue.append((way.through_at(100.0, 1500), b""))
    way.one_way_s = 0.0
    assert way.through_at(100.01, 1500) == pytest.approx(100.1)


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


def test_lateness_follows_what_it_was_up_to_a_tenth_of_a_millisecond():
    late = Lateness()
    for _ in range(200):
        late.was(30e-6)
    assert late.usual_s == pytest.approx(30e-6, rel=0.01)
    for _ in range(200):
        late.was(1.0)
    assert late.usual_s == pytest.approx(100e-6, rel=0.01)
    for _ in range(200):
        late.was(-1.0)
    assert late.usual_s == pytest.approx(0.0, abs=1e-6)


@pytest.mark.skipif(not SLICES, reason="Linux has slices of a process's own from 6.12 on")
def test_an_ordinary_process_may_be_made_prompt_without_any_right():
    program = (
        "import os\n"
        "from tierwise.tiers.emulated.linux import preempt_on_wake\n"
        "preempt_on_wake()\n"
        "print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))\n"
        "print(open('/proc/self/sched').read())"
    )
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    first, _, rest = said.stdout.partition("\n")
    assert first == f"{os.SCHED_OTHER} {nice}"
    (slice_,) = [line for line in rest.splitlines() if line.startswith("se.slice")]
    assert int(slice_.split(":")[1]) == 100_000


def test_tiers_have_cores_of_their_own_while_there_are_enough():
    cores = share_out({"mobile": 0.25, "edge": 0.5, "cloud": 2.0}, usable=range(1000, 1008))
    assert cores.of == {"mobile": (1004,), "edge": (1003,), "cloud": (1001, 1002)}
    assert cores.study == (1000, 1005, 1006, 1007)
    assert cores.beside("edge") == ()


def test_tiers_share_what_is_too_little_and_leave_the_first_core_to_the_study():
    cores = share_out({"mobile": 0.25, "edge": 0.5}, usable=(1000, 1001))
    assert cores.of == {"mobile": (1001,), "edge": (1001,)}
    assert cores.study == (1000,)
    assert cores.beside("edge") == ("mobile",)


def test_a_tier_that_needs_every_core_gets_every_core():
    cores = share_out({"cloud": 1.5}, usable=(1000, 1001))
    assert cores.of == {"cloud": (1000, 1001)}
    assert cores.study == (1000,)


def test_one_core_is_for_everyone():
    cores = share_out({"mobile": 0.25}, usable=(1000,))
    assert (cores.of, cores.study) == ({"mobile": (1000,)}, (1000,))


@pytest.mark.parametrize(
    ("file", "text", "rationed"),
    [
        ("cpu.max", "max 100000\n", False),
        ("cpu.max", "150000 100000\n", True),
        ("cpu.cfs_quota_us", "-1\n", False),
        ("cpu.cfs_quota_us", "150000\n", True),
    ],
)
def test_a_cpu_quota_is_told_from_none(tmp_path, file, text, rationed):
    (tmp_path / file).write_text(text)
    assert awake._rations(tmp_path / file) is rationed


def test_a_share_of_more_than_the_machine_says_what_to_write():
    greedy = Limits("cloud", 9999.0, None)
    shares = CpuShares("auto", [greedy])
    with pytest.raises(EnvironmentFault, match=r"Tier cloud asks for 9999 CPUs.*`cpus: \d+`"):
        shares.prepare(greedy, os.getpid())


def test_a_probe_says_how_far_off_it_is():
    def off(asked, achieved):
        return Probe("edge", "rtt_s", asked, achieved, "x").relative_error

    assert off(0.010, 0.011) == pytest.approx(0.1)
    assert off(0.0, 0.0005) == pytest.approx(0.5)


def test_a_probe_whose_other_end_ended_is_a_fault_and_no_crash():
    near, far = map(Channel, socket.socketpair())
    stopped = []
    emulation = SimpleNamespace(
        start_peer=lambda *_, **__: (1, near), stop_peer=lambda pid, _: stopped.append(pid)
    )
    far.close()
    with (
        pytest.raises(EnvironmentFault, match=r"tier edge .* probed: the probe's process ended"),
        probing.peer_of(emulation, "edge") as peer,
    ):
        peer.receive()
    assert stopped == [1]
    near.close()


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


@pytest.mark.skipif(not IS_LINUX, reason="Linux kills children of dead parents, if asked")
def test_a_child_whose_parent_died_before_it_first_ran_ends_itself():
    """As the processes of idle priority did not, on a busy machine."""
    orphaned = (
        "import os; from tierwise.tiers.emulated.linux import die_with_parent; "
        "die_with_parent(os.getppid() + 1); print('lives')"
    )
    said = subprocess.run([sys.executable, "-c", orphaned], capture_output=True, check=False)
    assert (said.returncode, said.stdout) == (-signal.SIGKILL, b"")
