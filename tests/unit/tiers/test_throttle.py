"""How a tier is held to its share of a core, on a clock that a test moves."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tierwise.tiers.emulated import throttle
from tierwise.tiers.emulated.linux import IS_LINUX, wants_core
from tierwise.tiers.emulated.throttle import Share, keep


class Clock:
    """The CPU clock of a tier's process, and the signals that it gets."""

    def __init__(self):
        self.used_s = 0.0
        self.signals = []

    def computes(self, seconds):
        """The tier's process does."""
        self.used_s += seconds

    def share(self, cpus):
        """Of a tier that is watched from the moment 1.0 on."""
        share = Share(cpus=cpus)
        share.watch([1])
        share.look(1.0)
        return share


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throttle, "cpu_seconds", lambda _: clock.used_s)
    monkeypatch.setattr(throttle.os, "kill", lambda _, number: clock.signals.append(number))
    return clock


@pytest.fixture
def held(clock):
    """Half a core, which computed from 1.0 to 1.001 and is held until 1.002."""
    share = clock.share(0.5)
    clock.computes(0.001)
    keep(share, (), 1.001, occupy=False)
    return share


def test_a_share_without_processes_asks_for_nothing():
    share = Share(cpus=0.5)
    assert keep(share, (), 10.0, occupy=False) > 10.0
    share.watch([2**22 + 1])
    share.look(11.0)
    assert share.pids == []


def test_a_tier_that_computes_is_held_back_until_its_debt_is_paid(clock):
    share = clock.share(0.25)
    clock.computes(0.001)
    again = keep(share, (), 1.001, occupy=False)
    assert clock.signals == [signal.SIGSTOP]
    assert again == pytest.approx(1.004)  # 1 ms of CPU time at a quarter of a core
    keep(share, (), 1.005, occupy=False)
    assert clock.signals == [signal.SIGSTOP, signal.SIGCONT]


def test_idle_time_is_not_saved_up(clock):
    share = clock.share(0.5)
    share.look(100.0)
    clock.computes(0.001)
    share.look(100.001)
    assert share.must_pay
    assert share.paid_at() == pytest.approx(100.002)


def test_a_hold_that_took_too_long_is_made_good_while_the_tier_computes(clock, held):
    assert held.stopped  # until 1.002
    keep(held, (), 1.003, occupy=False)
    assert not held.stopped
    clock.computes(0.001)  # half of it is what it may use anyway, half is made good
    held.look(1.004)
    assert not held.must_pay
    clock.computes(0.001)
    held.look(1.005)
    assert held.must_pay


def test_what_a_hold_took_too_long_is_lost_with_the_first_idle_moment(clock, held):
    keep(held, (), 1.003, occupy=False)
    held.look(1.004)
    clock.computes(0.001)
    held.look(1.005)
    assert held.must_pay
    assert held.paid_at() == pytest.approx(1.006)


def test_no_hold_however_long_gives_more_than_two_milliseconds(clock, held):
    keep(held, (), 2.0, occupy=False)
    clock.computes(0.004)
    held.look(2.004)
    assert not held.must_pay  # 2 ms made good, 2 ms its share of these 4
    clock.computes(0.001)
    held.look(2.005)
    assert held.must_pay


def test_the_moments_before_a_tier_began_are_no_part_of_its_share(clock):
    share = clock.share(0.5)
    share.look(1.001)
    clock.computes(0.0004)  # somewhere in the next 100 ms, after which somebody looks
    share.look(1.1)
    assert share.paid_at() == pytest.approx(1.1004)


def test_what_is_owed_is_paid_by_resting(clock):
    share = clock.share(0.5)
    clock.computes(0.001)
    share.look(1.001)  # 0.5 ms owed
    share.look(1.0015)  # 0.25 ms
    clock.computes(0.0001)
    share.look(1.0018)  # 0.2 ms of rest less 0.1 of it
    assert share.paid_at() == pytest.approx(1.0018 + 2 * (0.00025 - 0.0001 + 0.00005))


def test_a_tier_that_waits_for_something_pays_only_what_is_much(clock):
    share = clock.share(0.25)
    clock.computes(0.0005)
    share.look(1.001)  # it computed half of the time: somebody else may want the core now
    assert not share.must_pay
    for millisecond in range(2, 8):
        clock.computes(0.0005)
        share.look(1 + millisecond / 1000)
    assert share.must_pay


def test_a_core_that_two_tiers_want_is_taken_from_one_only(clock, monkeypatch):
    one, other = (clock.share(0.25) for _ in range(2))
    now = time.monotonic()
    one.look(now - 0.001)
    clock.computes(0.001)
    # The other got no time yet, since a third one has the core: it wants it all the same.
    monkeypatch.setattr(throttle, "wants_core", lambda _: True)
    # It is asked however slow this machine is between two lines: the debt takes 0.4 s.
    monkeypatch.setattr(throttle, "_LONGEST_HOLD_S", 1.0)
    one.cpus = 0.0025
    keep(one, [other], now, occupy=True)
    assert clock.signals == [signal.SIGSTOP]
    assert one.stopped


def test_nobody_is_asked_where_asking_would_make_a_hold_too_long(clock, monkeypatch):
    one, other = (clock.share(0.9) for _ in range(2))
    now = time.monotonic()
    one.look(now - 0.001)
    clock.computes(0.001)  # paid within 0.1 ms
    monkeypatch.setattr(throttle, "wants_core", lambda _: pytest.fail("asked"))
    keep(one, [other], now, occupy=True)
    assert clock.signals == []


@pytest.mark.skipif(not IS_LINUX, reason="procfs is Linux's")
def test_who_runs_wants_a_core_and_who_waits_for_something_does_not():
    assert wants_core(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as waiting:
        deadline = time.monotonic() + 10.0
        while wants_core(waiting.pid):
            assert time.monotonic() < deadline, "it never waits for its input"
    assert not wants_core(waiting.pid)  # gone


def test_looks_are_frequent_at_first_and_rare_in_long_work(clock):
    share = clock.share(1.0)
    gaps = []
    for now in (1.001, 1.03, 1.3):
        clock.computes(0.0001)
        share.look(now)
        gaps.append(share.next_look() - now)
    assert gaps == pytest.approx([0.00025, 0.000582, 0.001])  # it began at 1.0009


def test_looks_are_frequent_again_after_a_rest_without_looks(clock):
    share = clock.share(0.25)
    clock.computes(0.0003)
    share.look(61.0)  # it was dozed over
    assert share.next_look() - 61.0 == pytest.approx(0.00025)


def test_who_was_held_is_looked_at_soon_and_not_taken_for_idle(clock):
    share = clock.share(0.25)
    clock.computes(0.001)
    share.look(1.001)
    share.look(1.004, held=True)
    assert not share.idle
    assert share.next_look() - 1.004 == pytest.approx(0.00025)
