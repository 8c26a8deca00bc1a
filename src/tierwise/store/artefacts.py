"""Files by the hash of their content: written completely or not at all, never changed."""

import hashlib
import os
import tempfile
from pathlib import Path

from tierwise.disk import writing
from tierwise.errors import NotAStudyError

_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of the file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


class Artefacts:
    """A folder of ``<sha256>.onnx`` files."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made with the first file."""
        self.folder = folder

    def put(self, content: bytes) -> str:
        """Keep ``content``; returns its hash. The same content twice is one file.

        Raises:
            DiskFull: no space is left; no half-written file stays.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        target = self._path(sha256)
        if target.exists():
            return sha256
        with writing(target):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self._sync_folder()
        return sha256

    def path(self, sha256: str) -> Path:
        """Where the file with this hash is.

        Raises:
            NotAStudyError: it is not here.
        """
        path = self._path(sha256)
        if not path.is_file():
            raise NotAStudyError(
                f"The artefact {path} is missing.",
                hint="Run the study again with `--fresh`.",
                sha256=sha256,
            )
        return path

    def verify(self, sha256: str) -> Path:
        """:meth:`path`, after reading the file; also raises where its content has another hash."""
        path = self.path(sha256)
        if (found := file_sha256(path)) != sha256:
            raise NotAStudyError(
                f"The artefact {path} was changed: its content has the hash {found[:12]}....",
                hint="Run the study again with `--fresh`.",
                sha256=sha256,
            )
        return path

    def sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for part in self.folder.glob(".*.part"):
            part.unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.onnx"

    def _sync_folder(self) -> None:
        # Without it, a power cut after the rename may lose the name though not the content.
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
