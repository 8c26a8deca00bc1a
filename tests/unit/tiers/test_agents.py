"""An agent's process whose memory is limited: killed for it, and started again."""

import errno
import os
import select
import sys
import time

import pytest

from tierwise.tiers.emulated import cgroups
from tierwise.tiers.emulated.agents import Agent, Limits, Setup
from tierwise.tiers.emulated.linux import IS_LINUX

MIB = 2**20
SLEEPS = "import time; time.sleep(600)"


def _agent(limit_bytes: int) -> Agent:
    return Agent(Limits("edge", None, limit_bytes), Setup("", "", watched=True))


def _until(agent: Agent, condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, agent.last_words()
        ready, _, _ = select.select(list(agent.pipes), [], [], 0.02)
        for pipe in ready:
            agent.read(pipe)
        agent.watch_memory()


@pytest.mark.skipif(not IS_LINUX, reason="needs /proc")
def test_who_holds_more_than_the_limit_is_killed_and_that_is_said_until_the_next_start():
    agent = _agent(60 * MIB)
    try:
        agent.start([sys.executable, "-c", f"x = b'x' * {200 * MIB}; {SLEEPS}"])
        _until(agent, lambda: not agent.alive)
        assert agent.oom_killed
        assert agent.peak_memory_bytes > 60 * MIB
        assert "SIGKILL" in agent.last_words()
        agent.start([sys.executable, "-c", SLEEPS])
        assert agent.alive
        agent.watch_memory()
        assert not agent.oom_killed
    finally:
        agent.stop()
    assert not agent.alive


@pytest.mark.cgroup
def test_a_kill_by_the_kernel_is_not_told_of_the_next_process():
    try:
        found = cgroups.find("memory")
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    group = cgroups.Group(found, "edge", os.getpid())
    agent = Agent(Limits("edge", None, 60 * MIB), Setup("", "", joins=(group.join,), memory=group))
    try:
        group.limit_memory(60 * MIB)
        agent.start([sys.executable, "-c", f"x = b'x' * {200 * MIB}; {SLEEPS}"])
        _until(agent, lambda: not agent.alive)
        assert agent.oom_killed
        agent.start([sys.executable, "-c", SLEEPS])
        assert agent.alive
        assert not agent.oom_killed
    finally:
        agent.stop()
        group.remove()


@pytest.mark.skipif(not IS_LINUX, reason="needs /proc")
def test_who_ends_for_another_reason_was_not_killed_for_memory():
    agent = _agent(500 * MIB)
    try:
        agent.start([sys.executable, "-c", SLEEPS])
        agent.watch_memory()
        os.kill(agent.pid, 9)
        _until(agent, lambda: not agent.alive)
        assert not agent.oom_killed
    finally:
        agent.stop()


@pytest.mark.skipif(not IS_LINUX, reason="limits are Linux's")
def test_an_agent_that_cannot_be_put_into_its_limits_says_why():
    def join():
        raise OSError(errno.EBUSY, "Device or resource busy", "cgroup.procs")

    agent = Agent(Limits("edge", None, None), Setup("", "", joins=(join,)))
    try:
        agent.start([sys.executable, "-c", SLEEPS])
        _until(agent, lambda: not agent.alive)
        assert agent.last_words().splitlines() == [
            "It cannot be put into its tier: [Errno 16] Device or resource busy: 'cgroup.procs'",
            "exit code 1",
        ]
    finally:
        agent.stop()
