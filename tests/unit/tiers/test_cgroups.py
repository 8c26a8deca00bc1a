"""Control groups of version 2 as the kernel documents them, in a folder that behaves so.

Facts: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max, memory.max, memory.swap.max,
memory.events, cgroup.type, "No Internal Process Constraint", "Threads"). A real kernel with version
2 runs the same code in tests/integration/tiers, wherever one does.
"""

import errno
import os
import shutil
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path

import pytest

from tierwise.errors import EnvironmentFault
from tierwise.tiers.emulated import cgroups
from tierwise.tiers.emulated.agents import Limits
from tierwise.tiers.emulated.shares import CpuShares

MIB = 2**20
# Those that count threads may be given to groups below one with processes; others may not.
THREADED = {"cpu", "cpuset", "pids"}
FILES = {
    "cpu": {"cpu.max": "max 100000\n"},
    "memory": {
        "memory.max": "max\n",
        "memory.swap.max": "max\n",
        "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    },
}


def _of(path: Path, done: Callable[..., object], *arguments: object, **options: object) -> object:
    return done(path, *arguments, **options)


class Version2:
    """A mounted tree: making, removing and writing do what the kernel's do."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, own: str) -> None:
        self.root, self.own = root, root / own.strip("/")
        self._mkdir, self._rmdir, self._write = Path.mkdir, Path.rmdir, Path.write_text
        proc = root.parent / "proc"
        proc.mkdir()
        root.mkdir()
        (proc / "mounts").write_text(f"cgroup2 {root} cgroup2 rw,nosuid 0 0\n")
        (proc / "cgroup").write_text(f"0::{own}\n")
        self._fill(root, {"cpu", "memory", "pids"}, kind=None)
        monkeypatch.setattr(cgroups, "_OWN", proc)
        for name, done in (
            ("mkdir", self.mkdir),
            ("rmdir", self.rmdir),
            ("write_text", self.write),
        ):
            # A bound method in a class would not be given the path.
            monkeypatch.setattr(Path, name, partialmethod(_of, done))

    def _fill(self, path, offered, kind):
        files = {"cgroup.controllers": " ".join(sorted(offered)), "cgroup.procs": ""}
        files["cgroup.subtree_control"] = ""
        for controller in offered if kind is not None else ():
            files |= FILES.get(controller, {})
        if kind is not None:
            files["cgroup.type"] = kind
        for name, text in files.items():
            self._write(path / name, text)

    def mkdir(self, path, *arguments, **options):
        self._mkdir(path, *arguments, **options)
        if path.is_relative_to(self.root) and path != self.root:
            enabled = self.enabled(path.parent)
            threads_only = self.populated(path.parent) and enabled & THREADED
            self._fill(path, enabled, "domain invalid\n" if threads_only else "domain\n")

    def rmdir(self, path):
        assert path.is_relative_to(self.root)
        if self.populated(path):
            raise OSError(errno.EBUSY, "busy")
        shutil.rmtree(path)

    def write(self, path, text, *arguments):
        if path.name != "cgroup.subtree_control" or not path.is_relative_to(self.root):
            return self._write(path, text, *arguments)
        offered = (path.parent / "cgroup.controllers").read_text().split()
        sign, controller = text[0], text[1:]
        if sign == "+" and controller not in offered:
            raise OSError(errno.ENOENT, "not offered")
        if sign == "+" and controller not in THREADED and self.populated(path.parent):
            raise OSError(errno.EBUSY, "processes in it")
        enabled = self.enabled(path.parent)
        enabled = enabled | {controller} if sign == "+" else enabled - {controller}
        for child in path.parent.iterdir():
            for name, default in FILES[controller].items() if child.is_dir() else ():
                self._write(child / name, default)
        return self._write(path, " ".join(sorted(enabled)))

    def enabled(self, path):
        return set((path / "cgroup.subtree_control").read_text().split())

    def populated(self, path):
        """The real root may have processes and controllers both."""
        return path != self.root and bool((path / "cgroup.procs").read_text().split())

    def put(self, path):
        """A process in a group."""
        self._write(path / "cgroup.procs", "1\n")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    def make(own="/"):
        return Version2(tmp_path / "cgroup", monkeypatch, own)

    return make


def test_the_quota_is_written_as_quota_and_period_in_microseconds(tree):
    tree()
    for cpus, text in ((0.5, "1000 2000"), (0.25, "1000 4000"), (1.5, "3000 2000")):
        group = cgroups.Group(cgroups.find("cpu"), f"edge{cpus}", os.getpid())
        assert (
            group.limit_cpu(cpus) == f"cgroup v2 quota, {int(text.split()[1]) / 1000:g} ms period"
        )
        assert (group.path / "cpu.max").read_text() == text
        group.remove()
        assert not group.path.exists()


def test_the_memory_limit_is_in_bytes_and_no_swap_comes_on_top(tree):
    tree()
    group = cgroups.Group(cgroups.find("memory"), "edge", os.getpid())
    assert group.limit_memory(200 * MIB) == "cgroup v2 memory limit"
    assert (group.path / "memory.max").read_text() == "209715200"
    assert (group.path / "memory.swap.max").read_text() == "0"
    group.join()
    assert (group.path / "cgroup.procs").read_text() == "0"  # the kernel reads: who writes it


def test_a_kernel_without_swap_accounting_has_no_file_for_it(tree):
    tree()
    group = cgroups.Group(cgroups.find("memory"), "edge", os.getpid())
    (group.path / "memory.swap.max").unlink()
    group.limit_memory(200 * MIB)
    assert not (group.path / "memory.swap.max").exists()


def test_the_kernels_kills_are_counted_since_the_start(tree):
    tree()
    group = cgroups.Group(cgroups.find("memory"), "edge", os.getpid())
    events = group.path / "memory.events"
    assert not group.killed
    events.write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n")
    assert group.killed
    group.forget_kills()
    assert not group.killed
    events.write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n")
    assert group.killed


def test_a_session_with_processes_hands_over_to_the_group_above(tree):
    # As on a desktop: a shell's scope below a slice that holds only groups.
    found = tree("/user.slice/session.scope")
    (found.root / "cgroup.subtree_control").write_text("+cpu")
    (found.root / "cgroup.subtree_control").write_text("+memory")
    found.own.parent.mkdir()
    (found.own.parent / "cgroup.subtree_control").write_text("+cpu")
    (found.own.parent / "cgroup.subtree_control").write_text("+memory")
    found.own.mkdir()
    found.put(found.own)
    for controller in ("cpu", "memory"):
        hierarchy = cgroups.find(controller)
        assert (hierarchy.version, hierarchy.parent) == (2, found.own.parent)
    # Nothing is left of the attempt: groups below a scope with controllers are for threads only.
    assert found.enabled(found.own) == set()
    assert not any(path.is_dir() for path in found.own.iterdir())


def test_where_the_controller_is_not_delegated_there_is_none(tree):
    found = tree("/a")
    found.own.mkdir()
    found.put(found.own)
    (found.root / "cgroup.controllers").write_text("pids")
    with pytest.raises(OSError, match="the kernel offers no memory controller"):
        cgroups.find("memory")


def test_a_quota_and_a_memory_limit_are_of_one_group(tree, monkeypatch):
    found = tree()
    tier = Limits("edge", cpus=0.5, memory_bytes=200 * MIB)
    setup = CpuShares("cgroup", [tier]).prepare(tier, os.getpid())
    (group,) = setup.groups
    assert len(setup.joins) == 1, "joining a second group would leave the first, and its limit"
    assert (group.path / "cpu.max").read_text() == "1000 2000"
    assert (group.path / "memory.max").read_text() == "209715200"
    assert setup.memory is group
    assert setup.memory_backend == "cgroup v2 memory limit"
    group.remove()
    # Without the controller the limit is kept by looking, and the record says so.
    real = cgroups._enable
    monkeypatch.setattr(cgroups, "_enable", lambda p, c: c != "memory" and real(p, c))
    setup = CpuShares("cgroup", [tier]).prepare(tier, os.getpid())
    assert (len(setup.groups), setup.watched) == (1, True)
    assert setup.memory_backend.endswith(
        "watched every 20 ms, killed above the limit "
        "(no control group: no memory controller beside the other one)"
    )
    assert found.enabled(found.root) == {"cpu", "memory"}


def test_a_limit_that_the_kernel_does_not_take_is_kept_by_looking(tree, monkeypatch):
    found = tree()
    monkeypatch.setitem(FILES["memory"], "memory.max", "")

    def refuse(path, text, *_):
        if path.name in {"memory.max", "cpu.max"}:
            raise OSError(errno.EINVAL, "Invalid argument", str(path))
        return found.write(path, text)

    monkeypatch.setattr(Path, "write_text", partialmethod(_of, refuse))
    tier = Limits("edge", cpus=None, memory_bytes=200 * MIB)
    setup = CpuShares("auto", [tier]).prepare(tier, os.getpid())
    assert (setup.groups, setup.joins, setup.memory, setup.watched) == ((), (), None, True)
    assert setup.memory_backend.endswith("(no control group: memory.max: Invalid argument)")
    assert not list(found.root.glob("tierwise-*")), "a group that limits nothing was left"
    quota = Limits("edge", cpus=0.5, memory_bytes=None)
    with pytest.raises(EnvironmentFault, match=r"by a cgroup: cpu\.max: Invalid argument\."):
        CpuShares("cgroup", [quota]).prepare(quota, os.getpid())


def test_a_group_of_before_that_cannot_be_removed_hinders_nobody(tree, monkeypatch):
    found = tree("/a")
    found.own.mkdir()
    gone = found.own / "tierwise-4194305-1-4194306-edge-memory"
    gone.mkdir()

    def refuse(path):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "rmdir", partialmethod(_of, refuse))
    assert cgroups.remove_stale() == ()


def test_groups_of_owners_that_are_gone_are_removed_however_deep(tree):
    found = tree("/a")
    found.own.mkdir()
    gone = found.own / "tierwise-4194305-1-4194306-edge-memory"  # beyond the most pids there can be
    gone.mkdir()
    mine = cgroups.Group(cgroups.Hierarchy(2, "memory", found.own), "edge", os.getpid())
    assert cgroups.remove_stale() == (gone.name,)
    assert not gone.exists()
    assert mine.path.exists()


def test_a_group_with_processes_of_another_pid_namespace_is_somebody_elses(tree):
    found = tree("/a")
    found.own.mkdir()
    theirs = found.own / "tierwise-4194305-1-4194306-edge-memory"
    theirs.mkdir()
    (theirs / "cgroup.procs").write_text("0\n")  # how the kernel shows them
    assert cgroups.remove_stale() == ()
    assert theirs.exists()
