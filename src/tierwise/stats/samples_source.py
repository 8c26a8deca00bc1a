"""Where samples come from: a file, plain or compressed, or standard input."""

import csv
import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierwise.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Source:
    """Can be read more than once.

    Attributes:
        path: As it was given.
        start: Its first bytes.
        held: The whole content of standard input, which cannot be read again.
    """

    path: Path
    start: bytes
    held: bytes | None = None

    @classmethod
    def open(cls, path: Path) -> "Source":
        """Look at the beginning of ``path``; ``-`` reads all of standard input.

        Raises:
            DataError: there is no such file, or it is a folder.
        """
        if str(path) == _STANDARD_INPUT:
            held = sys.stdin.buffer.read()
            return cls(path, held[: len(_PARQUET_MAGIC)], held)
        try:
            with path.open("rb") as file:
                return cls(path, file.read(len(_PARQUET_MAGIC)))
        except FileNotFoundError as error:
            raise DataError(f"There is no file {path}.", path=path) from error
        except IsADirectoryError as error:
            raise DataError(f"{path} is a folder, not a file of samples.", path=path) from error

    @property
    def name(self) -> str:
        """For messages."""
        return "standard input" if self.held is not None else self.path.name

    @property
    def is_parquet(self) -> bool:
        """Whether its first bytes say so."""
        return self.start == _PARQUET_MAGIC

    def binary(self) -> io.BufferedIOBase:
        """All of it, from the beginning."""
        return self.path.open("rb") if self.held is None else io.BytesIO(self.held)

    @contextmanager
    def text(self) -> Iterator[Iterator[str]]:
        """Its lines, unpacked where it is compressed.

        Raises:
            DataError: within, where it is not CSV in UTF-8.
        """
        try:
            with ExitStack() as stack:
                plain: Any = stack.enter_context(self.binary())
                if self.start.startswith(_GZIP_MAGIC):
                    plain = stack.enter_context(gzip.GzipFile(fileobj=plain))
                yield stack.enter_context(io.TextIOWrapper(plain, "utf-8-sig", newline=""))
        except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
            raise DataError(
                f"{self.name} is not CSV text: {error}.",
                hint="Give a CSV file in UTF-8, plain or compressed with gzip, or Parquet.",
                path=self.path,
            ) from error
