"""What the operating system says when a disk is full, said in Tierwise's words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from tierwise.errors import DiskFull
from tierwise.units import format_bytes

_CHUNK_BYTES = 1 << 20
# EFBIG is how a file size limit (`ulimit -f`) and some network file systems say it.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn "no space left" while writing ``path`` into :class:`DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise disk_full(path) from error
        raise


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write ``content`` so that ``path`` never holds half of it; makes the folder; gives ``path``.

    Raises:
        DiskFull: no space is left; what was in the file is still there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder; a full temporary disk is :class:`DiskFull` while it is in use."""
    with writing(Path(gettempdir())), TemporaryDirectory(prefix="tierwise-") as folder:
        yield Path(folder)


def check_space(path: Path, size_bytes: int) -> None:
    """Raise :class:`DiskFull` where a file of that size cannot be written to ``path``.

    For libraries that fail on a full disk without saying so: it is tried, because quotas and file
    size limits are in no figure of free space. What was in the file is lost.
    """
    chunk = bytes(_CHUNK_BYTES)
    with writing(path), path.open("wb") as file:
        for start in range(0, size_bytes, _CHUNK_BYTES):
            file.write(chunk[: size_bytes - start])


def disk_full(path: Path) -> DiskFull:
    """The error for ``path``, with how much is free there."""
    folder = next(parent for parent in (path, *path.parents) if parent.is_dir())
    free = os.statvfs(folder)
    return DiskFull(
        f"No space is left for {path} "
        f"({format_bytes(free.f_bavail * free.f_frsize)} free there). "
        "What was finished before is kept.",
        hint="Free some space (or raise the file size limit) and run the same command again.",
        path=str(path),
    )
