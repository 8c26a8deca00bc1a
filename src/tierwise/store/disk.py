"""What the operating system says when a disk is full, said in Tierwise's words."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tierwise.errors import DiskFull
from tierwise.units import format_bytes

# EFBIG is how a file size limit (`ulimit -f`) and some network file systems say it.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# SQLite reports a write that the file system refused halfway as SQLITE_IOERR_WRITE or _FSYNC.
_SQLITE_NO_SPACE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC}
)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn "no space left" while writing ``path`` into :class:`DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise _full(path) from error
        raise
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in _SQLITE_NO_SPACE:
            raise _full(path) from error
        raise


def _full(path: Path) -> DiskFull:
    folder = next(parent for parent in (path, *path.parents) if parent.is_dir())
    free = os.statvfs(folder)
    return DiskFull(
        f"No space is left for {path} "
        f"({format_bytes(free.f_bavail * free.f_frsize)} free there). "
        "What was finished before is kept.",
        hint="Free some space (or raise the file size limit) and run the same command again.",
        path=str(path),
    )
