"""System calls that Python 3.11 has no name for; on other systems they raise :class:`OSError`."""

import ctypes
import os
import platform
import signal
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# From linux/sched.h and linux/prctl.h.
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
# Real-time priorities: packets on a link are due whatever a tier owes.
LINKS_PRIORITY = 2
THROTTLE_PRIORITY = 1
# sched_setattr(2) by machine (the C library has no wrapper before glibc 2.41); sched/types.h: size,
# policy, flags, nice, priority, and in nanoseconds the slice (the kernel takes 0.1 ms and more),
# deadline and period.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
_SHORTEST_SLICE_NS = 100_000
# Kernels from 6.8 on keep this much of a core from real-time tasks whatever the setting says.
_MOST_REAL_TIME = 0.95

_LIBC = ctypes.CDLL(None, use_errno=True)
IS_LINUX = sys.platform.startswith("linux")


def _call(name: str, *arguments: int | ctypes.c_char_p) -> None:
    if not IS_LINUX:
        raise OSError(f"{name} is a Linux system call, and this is {sys.platform}")
    if getattr(_LIBC, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Move this process into new namespaces; :class:`OSError` where it may not."""
    _call("unshare", flags)


def new_network_namespace() -> int:
    """A descriptor of a new, empty, nameless network namespace; this process stays where it is.

    Nameless ones end with the last process and descriptor that holds them, so no crash can leave
    one behind.
    """
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        unshare(CLONE_NEWNET)
        try:
            return os.open("/proc/self/ns/net", os.O_RDONLY)
        finally:
            _call("setns", home, CLONE_NEWNET)
    finally:
        os.close(home)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Run the block inside the network namespace. Single-threaded processes only."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        _call("setns", namespace, CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", home, CLONE_NEWNET)
    finally:
        os.close(home)


def enter(namespace: int) -> None:
    """Move this process into the network namespace for good."""
    _call("setns", namespace, CLONE_NEWNET)


def new_user_namespace() -> None:
    """Become root of a new user namespace; files still see the user who started us."""
    user, group = os.geteuid(), os.getegid()
    # its own network namespace too: there is no way back into one of the outside
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {user} 1"),
        ("gid_map", f"0 {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123  one write(2)
            file.write(text)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread of ``parent`` that forked it ends.

    Ends it now where that has happened already: on a busy machine a process may get its first time
    on a core after its parent is dead, and nobody would ever end it.
    """
    if IS_LINUX:
        _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def wake_on_time(priority: int | None = LINKS_PRIORITY) -> None:
    """Let timers fire when they are due: no timer slack, and before ordinary processes if we may.

    Without the right to real-time ``priority`` (``None``: not asked for), or in a sandbox that has
    no such calls, the process is as prompt as any other.
    """
    with suppress(OSError):
        _call("prctl", _PR_SET_TIMERSLACK, 1, 0, 0, 0)
    if IS_LINUX and priority is not None:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


def preempt_on_wake() -> None:
    """Have this process, an ordinary one, take its core as soon as it wakes, as far as that goes.

    The scheduler of Linux 6.12 and later lets a waking process interrupt another's slice only if
    its own is shorter (EEVDF): 3 ms late otherwise, which is most of a short inference. Needs no
    right. Where there is no such thing it does nothing.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if not IS_LINUX or number is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _SCHED_ATTR.pack(
        _SCHED_ATTR.size, os.SCHED_OTHER, 0, nice, 0, _SHORTEST_SLICE_NS, 0, 0
    )
    with suppress(OSError):
        _call("syscall", number, 0, ctypes.c_char_p(attributes), 0)


@contextmanager
def forks_prompt() -> Iterator[None]:
    """Processes forked in the block have the links' priority, if we may give it.

    In a user namespace nobody has the right any more, but whoever has the priority keeps it.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(LINKS_PRIORITY))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def real_time_part() -> float:
    """The part of a core that real-time processes started here may take, 0 to 1.

    0 where there is no right to real-time priority (``CAP_SYS_NICE`` or ``RLIMIT_RTPRIO``), or
    none left in our control group. Elsewhere the kernel keeps 5% for the others by default (man 7
    sched, ``sched_rt_runtime_us``; its later deadline server for ordinary tasks keeps as much).
    """
    if not IS_LINUX:
        return 0.0
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(THROTTLE_PRIORITY))
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        return 0.0
    try:
        runtime_us, period_us = (
            int((Path("/proc/sys/kernel") / name).read_text("ascii"))
            for name in ("sched_rt_runtime_us", "sched_rt_period_us")
        )
    except (OSError, ValueError):
        return 0.0
    return min(_MOST_REAL_TIME, 1.0 if runtime_us < 0 else runtime_us / period_us)


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process used so far, to the nanosecond.

    The clock id of another process is made as ``clock_getcpuclockid(3)`` makes it.
    """
    return time.clock_gettime((~pid << 3) | 2)


def wants_core(pid: int) -> bool:
    """Whether any thread of a process runs or waits for a core; a process that is gone doesn't."""
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            if (thread / "stat").read_bytes().rpartition(b")")[2][1:2] == b"R":
                return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    return False


def process_start(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; ``None`` if it is gone.

    With the pid this names a process for good: pids are used again.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  procfs
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
