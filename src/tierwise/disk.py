"""What the operating system says of files and disks, said in Tierwise's words."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir

from tierwise.errors import DiskFull, EnvironmentFault, TierwiseError, UserError
from tierwise.units import format_bytes

_CHUNK_BYTES = 1 << 20
# EFBIG is how a file size limit (`ulimit -f`) and some network file systems say it.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What a wrong path causes, on any machine; all else is of this one.
_WRONG_PATH = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}
)
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
# The name that a file has while it is written: nobody asked for that one.
_PARTIAL = re.compile(r"^\.(.+?)(\.\d+)?\.(part|partial)$")


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


def check_output(path: Path) -> None:
    """Before long work whose result goes into the file ``path``: raise where it could not.

    It is tried, because rights say little of network file systems and of root. Nothing is left.

    Raises:
        UserError: ``path`` is a folder, or leads through something that is none.
        EnvironmentFault: nothing can be written there.
    """
    if path.is_dir():
        raise UserError(f"'{path}' is a folder.", hint="Give the name of a file to write with -o.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(path)  # instead of the temporary file's
        raise in_words(error) from error


def in_words(error: OSError) -> TierwiseError:
    """What ``error`` says, with its file, and what to do about it."""
    if not isinstance(error.filename, str) or error.errno is None:
        return EnvironmentFault(str(error))
    path = Path(error.filename)
    path = path.with_name(_PARTIAL.sub(r"\1", path.name)) if path.name else path
    if error.errno in _NO_SPACE:
        return disk_full(path)
    said = f"'{path}' cannot be used: {os.strerror(error.errno).lower()}."
    if error.errno in _WRONG_PATH:
        return UserError(said, hint="Check the path; name a new or other one.", path=str(path))
    hint = None
    if error.errno in _NOT_ALLOWED:
        hint = "Name a place where you may write, or change its rights."
    return EnvironmentFault(said, hint=hint, path=str(path))


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder; a full temporary disk is :class:`DiskFull` while it is in use.

    Also where a library noticed nothing when it wrote, and fails on what it reads back.
    """
    with writing(Path(gettempdir())), TemporaryDirectory(prefix="tierwise-") as folder:
        try:
            yield Path(folder)
        except TierwiseError:
            raise
        except Exception as error:
            try:
                check_space(Path(folder) / "space", _CHUNK_BYTES)
            except DiskFull:
                raise disk_full(Path(gettempdir())) from error
            raise


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
