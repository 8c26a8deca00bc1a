"""One writer a study directory: an advisory lock that dies with its process."""

import fcntl
import os
from pathlib import Path
from typing import Self

from tierwise.disk import writing
from tierwise.errors import UserError


class StudyLock:
    """Held by the process that runs a study; the kernel releases it, even after ``kill -9``."""

    def __init__(self, folder: Path) -> None:
        """Take the lock of ``folder``.

        Raises:
            UserError: another process holds it (``.pid``).
        """
        path = folder / ".lock"
        with writing(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise UserError(
                f"Another `tierwise run` (process {holder}) is working in {folder}.",
                hint="Wait for it, or choose another directory with `-o DIR`.",
                pid=holder,
            ) from error
        with writing(path):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let go; the file stays, so that nobody can lock a file that was just removed."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
