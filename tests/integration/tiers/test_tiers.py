"""Agents, their limits, and what remains of them."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tierwise.errors import EnvironmentFault, TierFault, UserError
from tierwise.tiers import emulated, remote
from tierwise.tiers.emulated import cgroups
from tierwise.tiers.emulated.linux import THROTTLE_PRIORITY, cpu_seconds, process_start
from tierwise.tiers.emulated.probing import SHORT_S, cpu_factor
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology

MIB = 2**20


def groups_of(owner):
    """Control groups that carry the owner's pid."""
    return [
        path
        for path in cgroups._ours(Path("/sys/fs/cgroup"), 7)
        if path.name.startswith(f"tierwise-{owner}-")
    ]


def wait_until_gone(left, deadline_s=30.0):
    """Until ``left()`` is empty; what is left after that is named."""
    deadline = time.monotonic() + deadline_s
    while remains := left():
        assert time.monotonic() < deadline, f"left: {remains}"
        time.sleep(0.01)


def running_pids(marker):
    """Processes with ``marker`` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def family_of(pid):
    """Every process below ``pid``, as (pid, start): keepers, throttles, links, agents."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            if start := process_start(child):
                found += [(child, start), *family_of(child)]
    return found


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_an_agent_that_ends_at_once_is_quoted_and_nothing_remains(lab):
    with pytest.raises(TierFault, match=r"tier mobile ended(.|\n)*the model is not there") as fault:
        lab.start(lab.pair, "--fail", backend="userspace")
    assert fault.value.tier == "mobile"
    assert not fault.value.oom
    assert groups_of(os.getpid()) == []
    assert not [cmd for pid, _ in family_of(os.getpid()) if "emulated" in (cmd := command_of(pid))]


def test_an_agent_that_never_listens_is_not_waited_for_forever(lab):
    silent = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(TierFault, match=r"tier mobile was not ready within 0.2 s"):
        emulated.start(lab.pair, lambda *_: silent, backend="userspace", ready_within_s=0.2)


def test_more_cpus_than_the_machine_has_are_refused(lab):
    greedy = Topology((Tier("cloud", cpus=10_000.0),))
    with pytest.raises(EnvironmentFault, match=r"asks for 10000 CPUs.*cpus: \d+"):
        lab.start(greedy, backend="userspace")


def test_a_dead_agent_is_seen_and_restarted_at_the_same_address(lab):
    with lab.start(lab.pair, backend="userspace") as running:
        url = running.url("mobile", "edge")
        running.kill("edge")
        assert not running.alive("edge")
        assert running.alive("mobile")
        running.restart("edge")
        assert running.alive("edge")
        assert running.url("mobile", "edge") == url
        with lab.dial(running, "mobile", "edge") as connection:
            lab.echo_s(connection)


@pytest.mark.cgroup
@pytest.mark.parametrize("backend", ["userspace", pytest.param("auto", marks=pytest.mark.slow)])
def test_a_memory_limit_kills_and_says_so(lab, backend):
    small = Topology((Tier("edge", memory_bytes=64 * MIB),))
    with pytest.raises(TierFault, match=r"memory limit of 67108864 bytes") as fault:
        lab.start(small, "--hold", "200", backend=backend)
    assert fault.value.oom


def group_files(pid):
    """The interface files of every control group that a process is in, by name."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        for mount in ("", "cpu", "memory", "cpu,cpuacct"):
            folder = Path("/sys/fs/cgroup", mount, line.split(":", 2)[2].lstrip("/"))
            if "tierwise-" in folder.name and folder.is_dir():
                found |= {path.name: path for path in folder.iterdir()}
    return found


def hierarchy_or_skip(controller):
    try:
        return cgroups.find(controller)
    except OSError as error:
        pytest.skip(f"no control groups can be made here: {error}")


@pytest.mark.slow
@pytest.mark.cgroup
def test_a_quota_and_a_memory_limit_hold_both(lab):
    hierarchy_or_skip("cpu"), hierarchy_or_skip("memory")
    tier = Tier("mobile", cpus=0.5, memory_bytes=200 * MIB)
    with lab.start(Topology((tier,)), backend="userspace", cpu="cgroup") as running:
        files = group_files(running._status("mobile")["pid"])
        if "cpu.max" in files:
            assert files["cpu.max"].read_text().split() == ["1000", "2000"]
            assert files["memory.max"].read_text() == f"{200 * MIB}\n"
        else:
            assert int(files["cpu.cfs_quota_us"].read_text()) == 1000
            assert int(files["memory.limit_in_bytes"].read_text()) == 200 * MIB
        assert "quota" in running.record["cpu@mobile"]
        assert "memory limit" in running.record["memory@mobile"]


@pytest.mark.slow
@pytest.mark.cgroup
def test_tiers_start_from_a_group_with_processes_in_it(lab):
    """As in a login session of version 2, where such a group can have no groups of its own."""
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("no control groups of version 2 here")
    _, hierarchy = hierarchy_or_skip("cpu"), hierarchy_or_skip("memory")
    session = hierarchy.parent / f"session-{os.getpid()}"
    own = Path("/sys/fs/cgroup") / Path("/proc/self/cgroup").read_text().strip().split("::")[
        1
    ].lstrip("/")
    session.mkdir()
    try:
        (session / "cgroup.procs").write_text("0")
        tier = Tier("mobile", cpus=0.5, memory_bytes=200 * MIB)
        with lab.start(Topology((tier,)), backend="userspace", cpu="cgroup") as running:
            assert "v2" in running.record["cpu@mobile"]
            assert "v2" in running.record["memory@mobile"]
        assert (session / "cgroup.subtree_control").read_text().split() == []
    finally:
        (own / "cgroup.procs").write_text("0")
        session.rmdir()


def test_peak_memory_is_what_the_agent_held(lab):
    with lab.start(Topology((Tier("edge"),)), "--hold", "50", backend="userspace") as running:
        assert 50 * MIB < running.peak_memory_bytes("edge") < 150 * MIB
        assert not running.oom_killed("edge")


@pytest.mark.parametrize("way", ["auto", "signals"])
@pytest.mark.parametrize("cpus", [0.25, 0.5])
def test_a_share_slows_short_work_as_much_as_it_says(lab, cpus, way):
    only = Topology((Tier("mobile", cpus=cpus),))
    with lab.start(only, backend="userspace", cpu=way) as running:
        # The machine that runs the tests is busy: others may take half of it, now and then.
        tries = []
        while len(tries) < 10 and not any(0.5 * cpus < f < 1.2 * cpus for f in tries):
            tries.append(cpu_factor(running, "mobile", SHORT_S, 5))
    assert any(0.5 * cpus < factor < 1.2 * cpus for factor in tries), tries


def test_whole_cores_are_not_limited_but_given(lab):
    with lab.start(Topology((Tier("cloud", cpus=1.0),)), backend="userspace") as running:
        (probe,) = running.probe(lab.condition(running.topology))
        allowed = os.sched_getaffinity(running._status("cloud")["pid"])
    assert len(allowed) == 1
    assert running.record["cpu@cloud"] == f"core {allowed.pop()}: whole"
    assert probe.asked == 1.0
    assert 0.05 < probe.achieved < 1.5  # it is what others leave of it


def test_two_tiers_that_compute_at_once_both_get_something(lab):
    """Neither's debt is paid with the other's time.

    How long the quick one takes would say so only on a machine without other work. What makes the
    difference shows on any: the slow one is stopped while it owes, and the core is not kept busy.
    (If it were, nobody would be stopped, and who keeps it busy would take 0.3 to 0.8 of the time;
    to look takes 0.04 to 0.15, and more only now and then.)
    """
    pair = Topology((Tier("mobile", cpus=0.1), Tier("edge", cpus=0.5)))
    with lab.start(pair, backend="userspace") as running:
        if len({running.record[f"cpu@{tier}"][:7] for tier in pair.names}) != 1:
            pytest.skip("here each tier has a core of its own")
        (slow_pid, mobile), (_, edge) = (running.start_peer(tier) for tier in pair.names)
        tries = []
        with contextlib.closing(mobile), contextlib.closing(edge):
            while len(tries) < 5 and not any(share < 0.25 for share in tries):
                edge.send({"work": 200_000, "threads": 1})
                mobile.send({"work": 400_000, "threads": 1})
                begin, spent_s, states = time.monotonic(), throttle_seconds(), ""
                while not select.select([edge.socket], [], [], 0.002)[0]:
                    states += Path(f"/proc/{slow_pid}/stat").read_text().rpartition(")")[2][1]
                spent_s = throttle_seconds() - spent_s
                tries.append(spent_s / (time.monotonic() - begin))
                quick, slow = edge.receive()[0], mobile.receive()[0]
                assert "T" in states
                assert quick["wall_s"] > 1.8 * quick["cpu_s"]
                assert slow["wall_s"] > 5 * slow["cpu_s"]
    assert any(share < 0.25 for share in tries), tries


def throttle_seconds():
    """CPU time of the processes of real-time priority that keep shares."""
    return sum(
        cpu_seconds(pid)
        for pid, _ in family_of(os.getpid())
        if os.sched_getscheduler(pid) == os.SCHED_FIFO
        and os.sched_getparam(pid).sched_priority == THROTTLE_PRIORITY
    )


def test_closing_twice_is_fine_and_nothing_remains(lab):
    limited = Topology((Tier("mobile", cpus=0.5, memory_bytes=200 * MIB), Tier("edge", cpus=1.0)))
    running = lab.start(limited)
    pids = [running._status(tier)["pid"] for tier in limited.names]
    running.close()
    running.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert groups_of(os.getpid()) == []
    with pytest.raises(EnvironmentFault, match="closed"):
        running.shape(None)


def test_the_ports_of_tiers_and_links_are_free_again(lab):
    with lab.start(lab.pair, backend="userspace") as running:
        urls = {running.url(a, b) for a in lab.pair.names for b in lab.pair.names}
        assert len(urls) == 4  # two agents, and the relays to each from the other
        assert all(map(remote.answers, urls))
    assert not any(map(remote.answers, urls))


OWNER = """
import sys, time
from tierwise.tiers import emulated
from tierwise.tiers.topology import Tier, Topology
chain = Topology((Tier("mobile", cpus=0.5, memory_bytes=2**28), Tier("edge", cpus=1.0)))
with emulated.start(
    chain, lambda tier, listen: [sys.executable, sys.argv[1], listen, "--marker", sys.argv[2]],
    backend=sys.argv[3],
) as running:
    print("ready", running.record["links"], flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("backend", "end"),
    [
        ("userspace", signal.SIGINT),
        ("auto", signal.SIGKILL),
        pytest.param("auto", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("userspace", signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("userspace", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_nothing_remains_of_an_owner_that_was_ended(lab, backend, end):
    marker = f"{os.getpid()}-{backend}-{end}"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(lab.agent), marker, backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as owner:
        ready, _, links = owner.stdout.readline().decode().partition(" ")
        assert ready == "ready"
        assert len(running_pids(marker)) == 3  # the owner and two agents
        family = family_of(owner.pid)
        assert len(family) >= 4  # keeper, agents, and who keeps shares and links
        networks = {network_of(pid) for pid, _ in family} - {network_of(os.getpid()), ""}
        assert len(networks) == (2 if links.startswith("network namespaces") else 0)
        everyone = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        before = {pid: process_start(pid) for pid in everyone}
        owner.send_signal(end)
        owner.wait()
    wait_until_gone(lambda: [*running_pids(marker), *groups_of(owner.pid)])
    wait_until_gone(
        lambda: [command_of(pid) for pid, start in family if process_start(pid) == start]
    )
    # A namespace's number is given again: whoever came since may have one of these.
    left = [pid for pid, start in before.items() if start and process_start(pid) == start]
    assert not networks & {network_of(pid) for pid in left}


def network_of(pid):
    """The network namespace that a process is in."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


def test_when_the_keeper_is_killed_too_the_next_start_removes_what_is_left(lab):
    marker = f"{os.getpid()}-keeper"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(lab.agent), marker, "userspace"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as owner:
        assert owner.stdout.readline().startswith(b"ready ")
        children = Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()
        owner.kill()
        for keeper in children:
            os.kill(int(keeper), signal.SIGKILL)
        owner.wait()
    wait_until_gone(lambda: running_pids(marker))
    with lab.start(Topology((Tier("edge"),)), backend="userspace"):
        assert groups_of(owner.pid) == []


def test_a_dead_keeper_is_an_error_and_closing_still_cleans(lab):
    with lab.start(Topology((Tier("edge", cpus=1.0),)), backend="userspace") as running:
        os.kill(running._keeper.pid, signal.SIGKILL)
        with pytest.raises(EnvironmentFault, match="keeps the emulated tiers died"):
            running.alive("edge")
    assert groups_of(os.getpid()) == []


@pytest.mark.slow
def test_two_runs_at_once_do_not_meet(lab):
    with lab.start(lab.pair) as one, lab.start(lab.pair) as other:
        one.shape(lab.condition(lab.pair, rtt_s=0.05))
        with lab.dial(other, "mobile", "edge") as quick, lab.dial(one, "mobile", "edge") as slow:
            assert min(lab.echo_s(quick) for _ in range(5)) < 0.04
            assert lab.echo_s(slow) > 0.049
        other.kill("edge")
        assert one.alive("edge")


def test_a_real_tier_is_used_where_it_is(lab):
    with subprocess.Popen(
        [sys.executable, str(lab.agent), "127.0.0.1:0"], stdout=subprocess.PIPE
    ) as real:
        try:
            real.stdout.readline()
            url = json.loads(real.stdout.readline())["listening"]
            mixed = Topology((Tier("mobile"), Tier("edge"), Tier("cloud", url=url)))
            with lab.start(mixed) as running:
                assert running.url("mobile", "cloud") == url
                assert running.record["cpu@cloud"] == "a real machine"
                assert running.links == ("mobile-edge",)
                with pytest.raises(UserError, match=r"edge-cloud is real.*rtt 20 ms"):
                    running.shape(lab.condition(mixed, rtt_s=0.02))
                running.shape(NetworkCondition({"mobile-edge": LinkShape(rtt_s=0.02)}))
                with lab.dial(running, "mobile", "cloud") as connection:
                    lab.echo_s(connection)
                with lab.dial(running, "mobile", "edge") as connection:
                    assert lab.echo_s(connection) >= 0.02
                assert running.alive("cloud")
                with pytest.raises(EnvironmentFault, match="can't reach it"):
                    running.url("cloud", "edge")
        finally:
            real.kill()


def test_real_tiers_alone_need_nothing_started(lab):
    with subprocess.Popen(
        [sys.executable, str(lab.agent), "127.0.0.1:0"], stdout=subprocess.PIPE
    ) as real:
        try:
            real.stdout.readline()
            url = json.loads(real.stdout.readline())["listening"]
            with remote.connect(Topology((Tier("cloud", url=url),))) as running:
                with lab.dial(running, "cloud", "cloud") as connection:
                    lab.echo_s(connection)
                assert running.probe(lab.condition(running.topology)) == ()
        finally:
            real.kill()


def test_a_real_tier_that_does_not_answer_is_named_with_the_command_to_start_it():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    silent = Topology((Tier("cloud", url=f"http://127.0.0.1:{port}"),))
    with pytest.raises(EnvironmentFault, match=r"cloud does not answer.*serve --tier cloud"):
        remote.connect(silent)
