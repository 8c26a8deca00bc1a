"""How much of the disk a folder of artefacts may take, and what leaves it for that.

A file that somebody needs is held by a shared lock on the file itself (:class:`Held`), one that is
being received by an exclusive one. The kernel keeps those for every process that shares the folder,
and drops them with the process, however it ends: a count in a file would be wrong after a kill.
"""

import fcntl
import logging
import math
import os
import re
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tierwise.disk import write_whole
from tierwise.serving.faults import Overloaded, TooLarge
from tierwise.units import format_bytes

log = logging.getLogger(__name__)
# Brian Ford's Cache Directory Tagging, which backup programs know too: what lies beside the tag can
# be had again. Only there is anything removed.
TAG = "CACHEDIR.TAG"
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
_TEXT = f"""{_SIGNATURE}
# This file marks a cache of tierwise serve: model files are removed from it when room is short.
# For information about cache directory tags see https://bford.info/cachedir/
"""
_OURS = re.compile(r"^[0-9a-f]{64}\.onnx$|^\.[0-9a-f]{16}\.[0-9a-f]{16}\.part$")
# heuristic: of the disk, to be left to others, as file systems keep 5% for their own.
_SPARE_SHARE, _SPARE_BYTES = 0.05, 2**30


class Held:
    """A file that is not removed as long as this lives."""

    def __init__(self, path: Path) -> None:
        """Hold ``path``; raises :class:`FileNotFoundError`."""
        self.path = path
        while True:
            descriptor = os.open(path, os.O_RDONLY)
            closer = weakref.finalize(self, os.close, descriptor)
            with suppress(OSError):  # no locks on this file system: nothing is removed there either
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return
            closer()  # it was removed or replaced before it was held


@dataclass(frozen=True)
class _File:
    path: Path
    size_bytes: int
    used_at: float

    @property
    def under_way(self) -> bool:
        return self.path.name.startswith(".")


class ArtifactRoom:
    """The bound on one folder. Any thread may use it, and any number of processes the folder."""

    def __init__(self, folder: Path, limit_bytes: float | None) -> None:
        """Keep what is in ``folder`` (which is made) within ``limit_bytes``.

        ``None``: half of what is free there and what artefacts take there now, together.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._may_remove = _is_cache(folder)
        free = shutil.disk_usage(folder).free
        self.limit_bytes = (free + self.held_bytes) / 2 if limit_bytes is None else limit_bytes
        self.removed = 0
        self.removed_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What artefacts take, those under way with all that they will."""
        return sum(file.size_bytes for file in self._files())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else makes room in the folder, or gives a file its name, meanwhile."""
        with (self._folder / ".lock").open("ab") as file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def make(self, needed_bytes: int) -> None:
        """Make room for ``needed_bytes``: call it :meth:`alone`.

        The least recently used files that nobody holds go, until the bound is kept and some of the
        disk is left. What cannot help is not removed. A disk that stays short is no reason to
        refuse: whoever writes will see.

        Raises:
            TooLarge: they are more than the bound.
            Overloaded: the files that are held leave no room.
        """
        if needed_bytes > self.limit_bytes:
            raise TooLarge(
                f"The model has {needed_bytes} bytes; this agent keeps {self.limit_bytes:.0f} in "
                "all. Raise it there: `tierwise serve --cache-size 8GiB`."
            )
        idle, held_bytes = self._idle()
        over = held_bytes + needed_bytes - self.limit_bytes
        if over > sum(file.size_bytes for file in idle):
            kept = "in use" if self._may_remove else f"in {self._folder}, which is no cache"
            raise Overloaded(
                f"There is no room for {needed_bytes} bytes: of {self.limit_bytes:.0f} the agent's "
                f"folder holds {held_bytes}, and what is {kept} is not removed. Unload models, "
                "or start the agent with more: `tierwise serve --cache-size 8GiB`."
            )
        disk = shutil.disk_usage(self._folder)
        spare_bytes = min(_SPARE_SHARE * disk.total, _SPARE_BYTES)
        missing = max(over, needed_bytes + spare_bytes - disk.free)
        for file in sorted(idle, key=lambda each: each.used_at):
            if missing <= 0:
                return
            if self._remove(file):
                missing -= file.size_bytes

    def _idle(self) -> tuple[list[_File], int]:
        """Files that may go, and what all take; what a killed agent left under way is removed."""
        idle, held_bytes = [], 0
        for file in self._files():
            free = (self._may_remove or file.under_way) and _is_free(file.path)
            if free and file.under_way:
                file.path.unlink(missing_ok=True)
                continue
            held_bytes += file.size_bytes
            if free:
                idle.append(file)
        return idle, held_bytes

    def _remove(self, file: _File) -> bool:
        with _locked(file.path) as locked:
            if not locked:
                return False
            file.path.unlink(missing_ok=True)
        self.removed += 1
        self.removed_bytes += file.size_bytes
        log.info(
            "removed %s (%s) from the cache, which holds %s at most",
            file.path.name, format_bytes(file.size_bytes), limit_text(self.limit_bytes),
        )  # fmt: skip
        return True

    def _files(self) -> Iterator[_File]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if _OURS.match(entry.name):
                    with suppress(FileNotFoundError):
                        found = entry.stat()
                        yield _File(Path(entry.path), found.st_size, found.st_mtime)

    def used(self, path: Path) -> None:
        """``path`` was asked for now: it goes after those that were not."""
        if self._may_remove and path.parent == self._folder:
            with suppress(OSError):
                os.utime(path)

    def name(self, temporary: Path, target: Path) -> None:
        """Give a complete file its name; one that is there and held has the same content."""
        with self.alone(), _locked(target) as locked:
            if locked or not target.exists():
                temporary.replace(target)
            else:
                temporary.unlink()


def limit_text(limit_bytes: float) -> str:
    """For people."""
    return "any size" if math.isinf(limit_bytes) else format_bytes(limit_bytes)


def _is_cache(folder: Path) -> bool:
    """Whether what is in ``folder`` may go: one that is new or empty is made a cache."""
    tag = folder / TAG
    with suppress(OSError):
        if not any(not entry.name.startswith(".") for entry in folder.iterdir()):
            write_whole(tag, _TEXT)
        return tag.read_text("ascii", "replace").startswith(_SIGNATURE)
    return False


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether nobody holds ``path``, which nobody can meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        locked = False
    else:
        locked = True
    try:
        yield locked
    finally:
        os.close(descriptor)


def _is_free(path: Path) -> bool:
    with _locked(path) as locked:
        return locked
