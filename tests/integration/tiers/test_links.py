"""Links do what was asked, by every back end.

Limits are wide and the best of several tries counts: the machine that runs the tests is busy.
What is achieved on a quiet one is printed by ``benchmarks/emulation.py``.
"""

import os
import signal
import socket
import statistics
import time
from pathlib import Path

import pytest

from tierwise.errors import EnvironmentFault, UserError
from tierwise.tiers import emulated
from tierwise.tiers.emulated import kernel_links
from tierwise.tiers.emulated.linux import inside
from tierwise.tiers.topology import LinkShape


def test_every_tier_reaches_every_other_and_itself(lab, running):
    running.shape(None)
    for source in lab.chain.names:
        for target in lab.chain.names:
            with lab.dial(running, source, target) as connection:
                assert lab.echo_s(connection, 1000) < 5


def test_the_round_trip_is_that_of_every_link_on_the_way(lab, running):
    running.shape(lab.condition(lab.chain, rtt_s=0.02))
    for target, rtt_s in (("mobile", 0.0), ("edge", 0.02), ("cloud", 0.04)):
        with lab.dial(running, "mobile", target) as connection:
            lab.echo_s(connection)
            best_s = min(lab.echo_s(connection) for _ in range(20))
        # A link makes good how late its process usually is: at most 0.4 ms a round trip.
        assert rtt_s - 0.001 < best_s < rtt_s + 0.005


def test_bytes_take_the_time_that_the_bandwidth_gives_them_even_a_few(lab, running):
    running.shape(lab.condition(lab.chain, bandwidth_bit_per_s=10e6))
    size = 50_000  # 40 ms each way; the echo begins before the last byte is there
    with lab.dial(running, "mobile", "edge") as connection:
        lab.echo_s(connection, size)
        best_s = min(lab.echo_s(connection, size) for _ in range(5))
    assert 0.036 < best_s < 0.1
    assert running.dropped_packets() == {"mobile-edge": 0, "edge-cloud": 0}


@pytest.mark.netns
def test_what_a_link_loses_whose_process_gets_no_core_is_counted(lab):
    lab.start(lab.pair, backend="root").close()  # or skips
    links = kernel_links.KernelLinks(["mobile", "edge"])
    try:
        links.shape({"mobile-edge": LinkShape(10e6)})
        with inside(links.namespaces[0]):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        (line,) = links.workers()
        os.kill(line, signal.SIGSTOP)
        with sender:
            for _ in range(20_000):
                sender.sendto(b"!", (kernel_links.address(1), 9))
        os.kill(line, signal.SIGCONT)
        lost = links.dropped_packets()
        assert 3000 < lost["mobile-edge"] < 4000  # there is room for 16,384
        assert links.dropped_packets() == lost
    finally:
        links.close()


@pytest.mark.netns
def test_a_links_process_that_died_is_told(lab):
    lab.start(lab.pair, backend="root").close()  # or skips
    links = kernel_links.KernelLinks(["mobile", "edge"])
    try:
        (line,) = links.workers()
        os.kill(line, signal.SIGKILL)
        for ask in (links.dropped_packets, lambda: links.shape({"mobile-edge": LinkShape(10e6)})):
            with pytest.raises(EnvironmentFault, match=r"a link's packets died\. Run again"):
                ask()
    finally:
        links.close()


def test_a_connection_survives_a_change_of_shape(lab, running):
    running.shape(None)
    with lab.dial(running, "mobile", "cloud") as connection:
        quick_s = min(lab.echo_s(connection) for _ in range(5))
        running.shape(lab.condition(lab.chain, bandwidth_bit_per_s=50e6, rtt_s=0.03))
        slow_s = min(lab.echo_s(connection) for _ in range(5))
        running.shape(None)
        again_s = min(lab.echo_s(connection) for _ in range(5))
    assert quick_s < 0.05
    assert 0.059 < slow_s < 0.09
    assert again_s < 0.05


def test_two_connections_share_a_link(lab, running):
    running.shape(lab.condition(lab.chain, bandwidth_bit_per_s=10e6))
    with (
        lab.dial(running, "mobile", "edge") as one,
        lab.dial(running, "mobile", "edge") as other,
    ):
        started = time.perf_counter()
        one.sendall(bytes(50_000))
        other.sendall(bytes(50_000))
        for connection in (one, other):
            connection.recv(50_000, socket.MSG_WAITALL)
        took_s = time.perf_counter() - started
    assert took_s > 0.075  # 100 kB at 10 Mbit/s


def test_a_request_crosses_the_links_on_its_way_and_no_others(lab, running):
    running.shape(None)
    running.cut("edge-cloud")
    try:
        with lab.dial(running, "mobile", "edge") as connection:
            assert lab.echo_s(connection, 100_000) < 5
    finally:
        running.mend("edge-cloud")


def test_a_cut_link_lets_nothing_through_and_a_mended_one_goes_on(lab, running):
    running.shape(None)
    with lab.dial(running, "mobile", "edge", timeout_s=5) as connection:
        lab.echo_s(connection)
        running.cut("mobile-edge")
        connection.sendall(b"!")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        running.mend("mobile-edge")
        connection.settimeout(10)
        assert connection.recv(1) == b"!"


def test_a_probe_says_what_was_asked_what_was_achieved_and_by_what(lab, running):
    condition = lab.condition(lab.chain, bandwidth_bit_per_s=20e6, rtt_s=0.01)
    for _ in range(5):  # one of five must be close on a machine that is busy with others
        started = time.perf_counter()
        probes = running.probe(condition)
        took_s = time.perf_counter() - started
        if took_s < 4 and all(probe.relative_error < 0.2 for probe in probes):
            break
    assert took_s < 4
    assert [(probe.subject, probe.quantity, probe.asked) for probe in probes] == [
        ("mobile-edge", "rtt_s", 0.01),
        ("mobile-edge", "bandwidth_bit_per_s", 20e6),
        ("edge-cloud", "rtt_s", 0.01),
        ("edge-cloud", "bandwidth_bit_per_s", 20e6),
    ]
    assert all(probe.relative_error < 0.2 for probe in probes), probes
    assert all(probe.backend == running.record["links"] for probe in probes)


@pytest.mark.slow
def test_a_probe_of_the_slowest_and_longest_link_takes_two_seconds_a_link(lab, running):
    condition = lab.condition(lab.chain, bandwidth_bit_per_s=1e6, rtt_s=0.05)
    took_s = []
    while len(took_s) < 5 and min(took_s, default=9.0) > 4:  # the machine is busy with others
        started = time.perf_counter()
        probes = running.probe(condition)
        took_s.append(time.perf_counter() - started)
    assert min(took_s) < 4, took_s  # of two links
    assert all(probe.relative_error < 0.2 for probe in probes), probes


def test_jitter_without_netem_is_refused_and_nothing_changes(lab, running):
    if "netem" in running.record["links"]:
        pytest.skip("this kernel has netem")
    with pytest.raises(EnvironmentFault, match=r"jitter or loss.*netem"):
        running.shape(lab.condition(lab.chain, rtt_s=0.01, jitter_s=0.001))
    with lab.dial(running, "mobile", "edge") as connection:
        assert lab.echo_s(connection) < 5


@pytest.mark.netns
def test_jitter_that_cannot_be_had_is_refused_before_anything_starts(lab):
    asked = lab.condition(lab.chain, rtt_s=0.01, jitter_s=0.001)
    even = lab.condition(lab.chain, rtt_s=0.01)
    emulated.require_possible(lab.chain, "auto", [even])
    with pytest.raises(EnvironmentFault, match=r"mobile-edge asks for jitter or loss.*user space"):
        emulated.require_possible(lab.chain, "userspace", [even, asked])
    with lab.start(lab.chain, backend="auto") as running:
        has_netem = "netem" in running.record["links"]
    if has_netem:
        emulated.require_possible(lab.chain, "auto", [asked])
        return
    with pytest.raises(EnvironmentFault, match="mobile-edge asks for jitter or loss") as refused:
        emulated.require_possible(lab.chain, "auto", [asked])
    assert refused.value.hint


def test_jitter_and_loss_by_netem(lab, running):
    if "netem" not in running.record["links"]:
        pytest.skip("this kernel has no netem, or links are made in user space")
    with lab.dial(running, "mobile", "edge") as connection:
        running.shape(lab.condition(lab.chain, rtt_s=0.05, jitter_s=0.005))
        trips_s = [lab.echo_s(connection) for _ in range(40)]
        assert statistics.median(trips_s) == pytest.approx(0.05, abs=0.01)
        assert statistics.stdev(trips_s) > 0.002
        running.shape(lab.condition(lab.chain, rtt_s=0.05))
        trips_s = [lab.echo_s(connection) for _ in range(10)]
        assert statistics.median(trips_s) == pytest.approx(0.05, abs=0.01)
        # What is lost is sent again by TCP, which waits 200 ms at least; nothing is missing.
        running.shape(lab.condition(lab.chain, rtt_s=0.01, loss=0.2))
        trips_s = [lab.echo_s(connection) for _ in range(40)]
        assert min(trips_s) < 0.1
        assert max(trips_s) > 0.2
        running.shape(lab.condition(lab.chain, 2e6, rtt_s=0.01, jitter_s=0.001))
        assert 0.45 < lab.echo_s(connection, 125_000) < 1.5  # 1 Mbit there, and back meanwhile


@pytest.mark.netns
def test_a_discipline_is_tried_and_taken_away_again(lab):
    # With netem, which this kernel may not have, this is done at every start.
    lab.start(lab.pair, backend="root").close()  # or skips
    links = kernel_links.KernelLinks(["mobile"])
    try:
        with inside(links.namespaces[0]):
            kept = {name: (Path("/proc/sys") / name).read_text() for name in kernel_links._SETTINGS}
        assert {name: text.strip() for name, text in kept.items()} == kernel_links._SETTINGS
        assert links._can_queue("tbf", rate=1_000_000, burst=10_000, limit=100_000)
        assert not links._can_queue("no-such-discipline")
        assert links._can_queue("tbf", rate=1_000_000, burst=10_000, limit=100_000)
    finally:
        links.close()


def test_a_link_that_does_not_exist_is_named_with_those_that_do(running):
    with pytest.raises(UserError, match=r"no emulated link 'mobile-cloud'.*mobile-edge"):
        running.cut("mobile-cloud")
