"""Cores that are kept awake, so that they are as fast after a pause as in the middle of work.

A core that sleeps between requests wakes up slow: its clock was lowered, or, in a virtual machine,
the host gave its place to others meanwhile: up to 40% slower, in spells of seconds
(``benchmarks/emulation.py awake``; docs/design.md, Decisions). Idle priority (SCHED_IDLE) yields to
everyone else at once.
"""

import os
import select
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.linux import die_with_parent

_LOWEST = "19"  # as a nice value


def run(control: Channel, cores: Sequence[int]) -> None:
    """Keep ``cores`` awake until ``control`` is closed."""
    _yield_to_other_sessions()
    spinners = [_spin(core) for core in cores]
    select.select([control], [], [])
    for pid in spinners:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _yield_to_other_sessions() -> None:
    """Make idle priority hold against agents, each of which is a session of its own.

    Where the kernel groups processes by session (man 7 sched, autogroup), priorities count within
    a group only, and the groups share a core evenly: the spinners need one of their own, of the
    lowest weight.
    """
    os.setsid()
    with suppress(OSError):  # no such grouping here
        Path("/proc/self/autogroup").write_text(_LOWEST, "ascii")


def _spin(core: int) -> int:
    parent, pid = os.getpid(), os.fork()
    if pid:
        return pid
    try:
        die_with_parent(parent)
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while True:
            pass
    finally:
        os._exit(1)


def cpu_time_is_rationed() -> bool:
    """Whether a control group that we are in has a CPU quota, as in a container with ``--cpus``.

    There, time burnt to keep a core awake or to hold a tier back would be missing elsewhere.
    """
    try:
        groups = Path("/proc/self/cgroup").read_text("ascii").splitlines()
    except OSError:
        return False
    files = []
    for line in groups:
        _, names, path = line.split(":", 2)
        if names in {"", "cpu", "cpu,cpuacct", "cpuacct,cpu"}:
            for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"):
                own = Path(root) / path.lstrip("/")
                folders = (own, *own.parents)
                files += [f / n for f in folders for n in ("cpu.max", "cpu.cfs_quota_us")]
    return any(_rations(file) for file in files if file.is_file())


def _rations(file: Path) -> bool:
    quota = file.read_text("ascii").split()[0]
    return quota not in {"max", "-1"}
