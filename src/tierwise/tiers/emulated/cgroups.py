"""Control groups, version 2 or 1: CPU quota, memory limit, and the kernel's record of its kills.

A group's name tells whose it is, ``tierwise-<pid>-<start>-<tier>``, so that whoever comes next can
remove what a killed owner left behind.
"""

import errno
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tierwise.tiers.emulated.linux import process_start

# The kernel refuses a quota under 1 ms (min_cfs_quota_period, kernel/sched/core.c); a short period
# is what makes a short inference feel the quota at all.
_SMALLEST_QUOTA_US = 1000
_PERIOD_US = 2000
_NAME = re.compile(r"tierwise-(\d+)-(\d+)-(\d+)-")  # owner, its start, keeper
_OWN = Path("/proc/self")
_CONTROL = "cgroup.subtree_control"
_DEEPEST = 6  # heuristic: systemd's user slices are five deep


@dataclass(frozen=True)
class Hierarchy:
    """Where groups may be made for one controller.

    Attributes:
        version: 2 or 1.
        controller: ``"cpu"`` or ``"memory"``.
        parent: The folder in which our groups are made.
    """

    version: int
    controller: str
    parent: Path


class Group:
    """One tier's group in one hierarchy."""

    def __init__(self, hierarchy: Hierarchy, tier: str, owner_pid: int) -> None:
        """Make the group; :class:`OSError` where that is not allowed."""
        self.hierarchy = hierarchy
        start = process_start(owner_pid)
        self.path = hierarchy.parent / f"tierwise-{owner_pid}-{start}-{os.getpid()}-{tier}"
        self.path.mkdir()
        self._kills_before = 0

    def limit_cpu(self, cpus: float) -> str:
        """Set the quota; returns what was set, in words."""
        period_us = max(_PERIOD_US, round(_SMALLEST_QUOTA_US / cpus))
        quota_us = round(period_us * cpus)
        if self.hierarchy.version == 2:
            (self.path / "cpu.max").write_text(f"{quota_us} {period_us}")
        else:
            (self.path / "cpu.cfs_period_us").write_text(str(period_us))
            (self.path / "cpu.cfs_quota_us").write_text(str(quota_us))
        return f"cgroup v{self.hierarchy.version} quota, {period_us / 1000:g} ms period"

    def limit_memory(self, size_bytes: int) -> str:
        """Set the limit, swap included; returns what was set, in words."""
        if self.hierarchy.version == 2:
            (self.path / "memory.max").write_text(str(size_bytes))
            swap, most = self.path / "memory.swap.max", 0
        else:
            (self.path / "memory.limit_in_bytes").write_text(str(size_bytes))
            swap, most = self.path / "memory.memsw.limit_in_bytes", size_bytes
        if swap.exists():
            swap.write_text(str(most))
        return f"cgroup v{self.hierarchy.version} memory limit"

    def join(self) -> None:
        """Move the calling process into the group."""
        (self.path / "cgroup.procs").write_text("0")

    def also(self, controller: str) -> bool:
        """Have another controller in the same group, which version 2 can; whether it is there.

        There a process is in one group: joining a second would leave the first, and its limit.
        """
        return self.hierarchy.version == 2 and _enable(self.hierarchy.parent, controller)

    def forget_kills(self) -> None:
        """Count the kernel's kills from now on."""
        self._kills_before = self._kills()

    @property
    def killed(self) -> bool:
        """Whether the kernel killed a process of the group for its memory."""
        return self._kills() > self._kills_before

    def _kills(self) -> int:
        name = "memory.events" if self.hierarchy.version == 2 else "memory.oom_control"
        for line in (self.path / name).read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
        return 0

    def remove(self) -> None:
        """Kill whoever is left in the group and remove it; idempotent."""
        _remove(self.path)


def find(controller: str) -> Hierarchy:
    """The hierarchy that has ``controller`` and lets us make groups; :class:`OSError`: none."""
    why = f"the kernel offers no {controller} controller"
    for version, root, own in _mounted(controller):
        why = f"none with {controller} may be made below {root}"
        for parent in (own, *own.parents):
            if not parent.is_relative_to(root):
                break
            if _usable(version, parent, controller):
                return Hierarchy(version, controller, parent)
    raise OSError(why)


def remove_stale(also_keeper: int | None = None) -> tuple[str, ...]:
    """Remove the groups of owners that no longer run, and of a keeper known to be dead."""
    removed = []
    for root in {h_root for c in ("cpu", "memory") for _, h_root, _ in _mounted(c)}:
        for path in _ours(root, _DEEPEST):
            match = _NAME.match(path.name)
            if match is None:
                continue
            stale = process_start(int(match[1])) != match[2] or int(match[3]) == also_keeper
            if stale and not _foreign(path):
                with suppress(OSError):  # of a file system that is read-only by now
                    _remove(path)
                    removed.append(path.name)
    return tuple(sorted(set(removed)))


def _foreign(path: Path) -> bool:
    """Whether processes of another pid namespace are in it: their owner may well run there."""
    try:
        return "0" in (path / "cgroup.procs").read_text().split()
    except FileNotFoundError:
        return False


def _ours(folder: Path, depth: int) -> Iterator[Path]:
    try:
        below = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, PermissionError):
        return
    for entry in below:
        if _NAME.match(entry.name):
            yield Path(entry.path)
        elif depth > 0:
            yield from _ours(Path(entry.path), depth - 1)


def _mounted(controller: str) -> Iterator[tuple[int, Path, Path]]:
    """Version, mount point and our own group of every hierarchy that has the controller."""
    try:
        mounts = (_OWN / "mounts").read_text("utf-8")
        groups = (_OWN / "cgroup").read_text("utf-8")
    except FileNotFoundError:  # not Linux
        return
    own = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in groups.splitlines()}
    for line in mounts.splitlines():
        _, point, kind, options = line.split()[:4]
        root = Path(point)
        if kind == "cgroup2":
            offered = root / "cgroup.controllers"
            if offered.exists() and controller in offered.read_text().split():
                yield 2, root, root / own.get("", "/").lstrip("/")
        elif kind == "cgroup" and controller in options.split(","):
            names = next((n for n in own if controller in n.split(",")), None)
            yield 1, root, root / own.get(names or "", "/").lstrip("/")


def _usable(version: int, parent: Path, controller: str) -> bool:
    """Whether a group with the controller can be made in ``parent`` and joined from here."""
    if not os.access(parent, os.W_OK) or not os.access(parent / "cgroup.procs", os.W_OK):
        return False
    before = version == 2 and controller in (parent / _CONTROL).read_text().split()
    if version == 2 and not _enable(parent, controller):
        return False
    trial = parent / f"tierwise-{os.getpid()}-{process_start(os.getpid())}-{os.getpid()}-trial"
    try:
        trial.mkdir()
    except OSError:
        return False
    # Beside processes the kernel takes controllers that count threads (cpu), but the groups below
    # are then for threads only, and joining fails with EOPNOTSUPP.
    kind = trial / "cgroup.type"  # since Linux 4.14
    joinable = version == 1 or not kind.exists() or kind.read_text().strip() == "domain"
    trial.rmdir()
    if not joinable and not before:
        (parent / _CONTROL).write_text(f"-{controller}")
    return joinable


def _enable(parent: Path, controller: str) -> bool:
    """Have ``controller`` in the groups of version 2 below ``parent``; whether it is there."""
    control = parent / _CONTROL
    try:
        if controller not in control.read_text().split():
            control.write_text(f"+{controller}")
    except OSError:  # processes in it, or not delegated: a parent may do
        return False
    return True


def _remove(path: Path) -> None:
    deadline = time.monotonic() + 5.0
    while path.exists():
        try:
            listed = (path / "cgroup.procs").read_text("ascii").split()
            # 0 stands for a process of another namespace; to kill(2) it means our own group.
            pids = [int(pid) for pid in listed if pid != "0"]
        except OSError:  # gone meanwhile
            pids = []
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:  # busy until the last process is gone
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.002)
