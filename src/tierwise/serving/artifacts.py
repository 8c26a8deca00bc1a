"""The agent's cache of model files, by content hash."""

import fcntl
import hashlib
import math
import os
import secrets
from contextlib import suppress
from pathlib import Path

from tierwise.serving.artifact_room import ArtifactRoom, Held
from tierwise.serving.faults import BadRequest, NotFound, TooLarge


class ArtifactCache:
    """A folder of files named ``<sha256>.onnx``.

    A file is complete and verified the moment it exists under its name. The folder may be one
    that others fill in the same way (a study's artefacts), from which nothing is removed then, and
    several agents may share it.
    """

    def __init__(self, folder: Path, max_bytes: int, limit_bytes: float | None = math.inf) -> None:
        """Keep files of at most ``max_bytes`` each, and ``limit_bytes`` together, in ``folder``.

        It is made; ``limit_bytes`` of ``None`` is for :class:`ArtifactRoom` to choose.
        """
        self.folder = folder
        self.max_bytes = max_bytes
        self.room = ArtifactRoom(folder, limit_bytes)

    def path(self, sha256: str) -> Path:
        """The file with that content, which was asked for now.

        Raises:
            NotFound: it isn't here yet.
        """
        path = self._path(sha256)
        if not path.is_file():
            raise _missing(sha256)
        self.room.used(path)
        return path

    def hold(self, sha256: str) -> Held:
        """:meth:`path`, which stays there as long as what is returned lives."""
        try:
            return Held(self.path(sha256))
        except FileNotFoundError as error:  # removed this very moment
            raise _missing(sha256) from error

    def receive(self, sha256: str, length: int | None) -> "Incoming":
        """Somewhere to write the content of ``sha256`` to; see :class:`Incoming`.

        Raises:
            TooLarge: ``length`` is more than a model, or all of them, may have.
            Overloaded: what is in use leaves no room.
            OSError: the disk is full.
        """
        self._path(sha256)
        if length is not None and length > self.max_bytes:
            raise TooLarge(
                f"The model has {length} bytes; this agent accepts {self.max_bytes}. "
                "Raise it there: `tierwise serve --max-model 8GiB`."
            )
        with self.room.alone():
            self.room.make(length or 0)
            return Incoming(self.room, self.folder, sha256, length or 0)

    def _path(self, sha256: str) -> Path:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise BadRequest(f"{sha256!r:.100} is not a SHA-256: 64 lower-case hex digits.")
        return self.folder / f"{sha256}.onnx"


class Incoming:
    """An artefact under way: a temporary file until :meth:`finish` has verified it."""

    def __init__(self, room: ArtifactRoom, folder: Path, sha256: str, length: int) -> None:
        """Open a temporary file in ``folder``, which counts there with its ``length`` from now."""
        self._room = room
        self._target = folder / f"{sha256}.onnx"
        self._sha256 = sha256
        self._temporary = folder / f".{sha256[:16]}.{secrets.token_hex(8)}.part"
        self._file = self._temporary.open("xb")
        self._hash = hashlib.sha256()
        with suppress(OSError):  # no locks on this file system
            fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._file.truncate(length)
        except OSError:
            self.abort()
            raise

    def write(self, data: memoryview) -> None:
        """Take the next piece; raises :class:`OSError` where the disk is full."""
        self._hash.update(data)
        self._file.write(data)

    def abort(self) -> None:
        """Leave nothing behind."""
        # A full disk fails again here, with what is still buffered.
        with suppress(OSError):
            self._file.close()
        with suppress(FileNotFoundError):
            self._temporary.unlink()

    def finish(self) -> None:
        """Verify, and give the file its name.

        Raises:
            BadRequest: the content has another hash.
            OSError: the disk is full.
        """
        got = self._hash.hexdigest()
        if got != self._sha256:
            self.abort()
            raise BadRequest(f"The body's SHA-256 is {got}, not {self._sha256}: send it again.")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            # Named before it is closed: until then its lock tells others that it is under way.
            self._room.name(self._temporary, self._target)
            self._file.close()
        except OSError:
            self.abort()
            raise


def _missing(sha256: str) -> NotFound:
    return NotFound(
        f"There is no artefact {sha256}. Send it first: PUT /tierwise/v1/artifacts/{sha256}."
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
