"""The sessions that an agent keeps open, within a budget of memory.

A session whose weights would not fit is opened after the least recently used idle ones have been
closed; those are opened again, from the file on disk, when they are asked for.
"""

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tierwise.runtime.session import Session, SessionOptions, open_session
from tierwise.serving.statistics import ModelStatistics

log = logging.getLogger(__name__)
# heuristic: while it is opened, a model is there as a file's content and as a session's weights.
_COPIES = 2
# heuristic: left for requests' tensors and for what the interpreter takes meanwhile.
_SHARE = 0.9
_CGROUPS = Path("/sys/fs/cgroup")


class WarmSession:
    """One model's session, open or closed for the moment."""

    def __init__(self, sessions: "WarmSessions", path: Path, options: SessionOptions) -> None:
        """Made by :meth:`WarmSessions.open`."""
        self._sessions = sessions
        self.path = path
        self.options = options
        self.statistics = ModelStatistics()
        self.session: Session | None = None
        self.running = 0
        self.used_at = 0.0

    def take(self) -> Session:
        """The open session, which stays so until :meth:`give_back`.

        Raises:
            TierwiseError: it was closed, and cannot be opened again.
        """
        with self._sessions.lock:
            self.running += 1
            self.used_at = time.perf_counter()
            session = self.session
        if session is not None:
            return session
        try:
            session = self._sessions.reopen(self)
        except BaseException:
            self.give_back()
            raise
        return session

    def give_back(self) -> None:
        """The run is over."""
        with self._sessions.lock:
            self.running -= 1


class WarmSessions:
    """All warm sessions of one agent. Any thread may use them; opening is one at a time."""

    def __init__(
        self, budget_bytes: int | None, resident: Callable[[], int | None] | None = None
    ) -> None:
        """Keep within ``budget_bytes`` (``None``: no limit) of what ``resident`` says is held."""
        self.lock = threading.Lock()
        self._opening = threading.RLock()
        self._budget_bytes = budget_bytes
        self._resident = resident or resident_bytes
        self._all: set[WarmSession] = set()

    @property
    def open_count(self) -> int:
        """How many are open."""
        with self.lock:
            return sum(warm.session is not None for warm in self._all)

    def open(self, path: Path, options: SessionOptions) -> WarmSession:
        """Open a session and keep it; raises :class:`TierwiseError`."""
        warm = WarmSession(self, path, options)
        with self._opening:
            self._make_room(path)
            warm.session = open_session(path, options)
            warm.used_at = time.perf_counter()
            with self.lock:
                self._all.add(warm)
        return warm

    def reopen(self, warm: WarmSession) -> Session:
        """Open what was closed; raises :class:`TierwiseError`."""
        with self._opening:
            if warm.session is None:
                start = time.perf_counter()
                self._make_room(warm.path)
                warm.session = open_session(warm.path, warm.options)
                warm.statistics.reloaded += 1
                log.info("opened %s again in %.3f s", warm.path, time.perf_counter() - start)
            return warm.session

    def forget(self, warm: WarmSession) -> None:
        """Close it as soon as nobody runs it any more, for good."""
        with self.lock:
            self._all.discard(warm)

    def _make_room(self, path: Path) -> None:
        if self._budget_bytes is None:
            return
        needed = _COPIES * path.stat().st_size
        while (held := self._resident()) is not None:
            if held + needed <= self._budget_bytes * _SHARE or not self._close_one(held, needed):
                return

    def _close_one(self, held: int, needed: int) -> bool:
        """Close the least recently used idle session; whether there was one."""
        with self.lock:
            idle = [w for w in self._all if w.session is not None and w.running == 0]
            if not idle:
                return False
            victim = min(idle, key=lambda warm: warm.used_at)
            victim.session = None
            victim.statistics.unloaded += 1
        _return_freed_memory()
        log.warning(
            "memory is short: closed %s (%d bytes held, %d more needed, %s allowed)",
            victim.path, held, needed, self._budget_bytes,
        )  # fmt: skip
        return True


def resident_bytes() -> int | None:
    """What this process holds in memory; ``None`` where the system doesn't tell (no ``/proc``)."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def own_limit_bytes(groups: Path = Path("/proc/self/cgroup"), root: Path = _CGROUPS) -> int | None:
    """The least memory limit of the control groups (v2 or v1) that this process is in, if any."""
    found: list[int] = []
    try:
        lines = groups.read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = top / path.lstrip("/")
        # A container sees its own group as the root, whatever the path says.
        for each in (folder, *folder.parents):
            if each.is_relative_to(top):
                found += _limit(each / name)
    return min(found, default=None)


def _limit(file: Path) -> list[int]:
    try:
        text = file.read_text("ascii").strip()
    except OSError:
        return []
    # v1 writes "no limit" as a number near 2^63.
    return [int(text)] if text.isdigit() and int(text) < 2**60 else []


def _return_freed_memory() -> None:
    """Let the C library give freed pages back, where it can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
