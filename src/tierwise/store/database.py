"""The study's SQLite file: its schema, its format version, and how it is opened.

A format never changes in place: a new version gets a new entry in :data:`_STEPS`, which an older
file is taken through when it is opened for writing. A file of every format is kept in
``tests/unit/store/fixtures`` and must stay readable.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tierwise import __version__
from tierwise.disk import disk_full, writing
from tierwise.errors import NotAStudyError

FILE_NAME = "tierwise.db"
# SQLite reports a write that the file system refused halfway as SQLITE_IOERR_WRITE or _FSYNC.
_NO_SPACE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC})

# One entry a format version; the first makes an empty file into format 1.
_STEPS = (
    """
    CREATE TABLE format_history (
        version INTEGER PRIMARY KEY, tierwise TEXT NOT NULL, at TEXT NOT NULL
    ) STRICT;
    -- The study as a whole: name, model, task, topology, requirement, and finished stages.
    CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE environment (label TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE variants (
        name TEXT PRIMARY KEY, sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        macs INTEGER NOT NULL, notes TEXT NOT NULL
    ) STRICT;
    CREATE TABLE quality (
        variant TEXT PRIMARY KEY REFERENCES variants (name) ON DELETE CASCADE,
        metric TEXT NOT NULL, value REAL NOT NULL, loss REAL NOT NULL, n INTEGER NOT NULL,
        from_labels INTEGER NOT NULL, per_input BLOB NOT NULL, more TEXT NOT NULL
    ) STRICT;
    CREATE TABLE conditions (number INTEGER PRIMARY KEY, shapes TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE trials (
        id INTEGER PRIMARY KEY, strategy TEXT NOT NULL, operator TEXT NOT NULL,
        variant TEXT NOT NULL, tiers TEXT NOT NULL, cuts TEXT NOT NULL,
        condition INTEGER NOT NULL REFERENCES conditions (number),
        state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
        memory_bytes TEXT NOT NULL DEFAULT '{}', predicted_s TEXT,
        UNIQUE (strategy, condition)
    ) STRICT;
    -- One pass over all trials of a condition with the same input. Its row and its samples are
    -- one transaction, and neither can be there twice.
    CREATE TABLE blocks (
        condition INTEGER NOT NULL REFERENCES conditions (number), block INTEGER NOT NULL,
        input_index INTEGER NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (condition, block)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE samples (
        trial INTEGER NOT NULL REFERENCES trials (id), block INTEGER NOT NULL,
        request INTEGER NOT NULL, input_index INTEGER NOT NULL, latency_s REAL NOT NULL,
        started_at_s REAL NOT NULL, late INTEGER NOT NULL, parts_s TEXT NOT NULL,
        wire_bytes TEXT NOT NULL,
        PRIMARY KEY (trial, block, request)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE probes (
        subject TEXT NOT NULL, quantity TEXT NOT NULL, asked REAL NOT NULL,
        achieved REAL NOT NULL, backend TEXT NOT NULL,
        UNIQUE (subject, quantity, asked)
    ) STRICT;
    CREATE TABLE warnings (
        kind TEXT NOT NULL, subject TEXT NOT NULL, evidence TEXT NOT NULL, advice TEXT NOT NULL,
        UNIQUE (kind, subject)
    ) STRICT;
    """,
    # How each strategy starts, and the energy of a request where the machine counts it.
    """
    CREATE TABLE cold_starts (strategy TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    ALTER TABLE samples ADD COLUMN energy_j REAL;
    """,
    # How tensors cross a cut, and the quality of strategies where that loses something.
    """
    ALTER TABLE trials ADD COLUMN encodings TEXT NOT NULL DEFAULT '[]';
    CREATE TABLE strategy_quality (
        strategy TEXT PRIMARY KEY,
        metric TEXT NOT NULL, value REAL NOT NULL, loss REAL NOT NULL, n INTEGER NOT NULL,
        from_labels INTEGER NOT NULL, per_input BLOB NOT NULL, more TEXT NOT NULL
    ) STRICT;
    """,
    # What decides which trials are measured: the profile that predictions start from, and the
    # rounds of measuring that were chosen by them.
    """
    CREATE TABLE profile_blocks (
        block INTEGER PRIMARY KEY, input_index INTEGER NOT NULL, record TEXT NOT NULL
    ) STRICT;
    CREATE TABLE profile_samples (
        strategy TEXT NOT NULL, block INTEGER NOT NULL REFERENCES profile_blocks (block),
        request INTEGER NOT NULL, input_index INTEGER NOT NULL, latency_s REAL NOT NULL,
        started_at_s REAL NOT NULL, parts_s TEXT NOT NULL, wire_bytes TEXT NOT NULL,
        PRIMARY KEY (strategy, block, request)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE segment_costs (
        strategy TEXT PRIMARY KEY, compute_shares TEXT NOT NULL, hop_bytes TEXT NOT NULL
    ) STRICT;
    CREATE TABLE rounds (
        condition INTEGER NOT NULL REFERENCES conditions (number), round INTEGER NOT NULL,
        first_block INTEGER NOT NULL, looks TEXT NOT NULL, tests INTEGER NOT NULL,
        chosen TEXT NOT NULL,
        PRIMARY KEY (condition, round)
    ) STRICT, WITHOUT ROWID;
    """,
)
FORMAT = len(_STEPS)


@contextmanager
def writing_database(path: Path) -> Iterator[None]:
    """:func:`~tierwise.disk.writing`, for what SQLite makes of a full disk."""
    try:
        with writing(path):
            yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in _NO_SPACE:
            raise disk_full(path) from error
        raise


def create_or_open(folder: Path) -> sqlite3.Connection:
    """Open ``folder``'s database for writing, made or brought to the newest format as needed.

    Raises:
        NotAStudyError: the file is damaged, or a newer Tierwise wrote it.
        DiskFull: no space is left.
    """
    path = folder / FILE_NAME
    with writing_database(path):
        connection = _connect(path, f"file:{quote(str(path))}?mode=rwc")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # A commit must survive a power cut, not only `kill -9`: a block is measured once.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def open_to_read(folder: Path) -> sqlite3.Connection:
    """Open ``folder``'s database for reading; works while a run is writing.

    Raises:
        NotAStudyError: there is none, it is damaged, or a newer Tierwise wrote it.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise NotAStudyError(
            f"{folder} is not a study directory: it has no {FILE_NAME}.",
            hint="Make one: `tierwise run study.yaml -o DIR`, or `tierwise demo`.",
            path=str(folder),
        )
    uri = f"file:{quote(str(path))}"
    try:
        connection = _connect(path, f"{uri}?mode=ro")
    except sqlite3.OperationalError:
        # A read-only directory cannot take WAL's shared-memory file; this reads without it.
        connection = _connect(path, f"{uri}?immutable=1")
    if not _version(connection):
        connection.close()
        raise NotAStudyError(
            f"{path} is empty: the run stopped before its plan was made.",
            hint="Run the same `tierwise run` command again.",
            path=str(folder),
        )
    return connection


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the format of an older file, opened to read only, had this table."""
    found = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,)
    )
    return found.fetchone() is not None


def _connect(path: Path, uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    connection.row_factory = sqlite3.Row
    try:
        version = _version(connection)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_NOTADB:
            raise
        raise NotAStudyError(
            f"{path} is not a Tierwise database: {error}.",
            hint="Choose another directory, or start over with `--fresh`.",
            path=str(path),
        ) from error
    if version > FORMAT:
        connection.close()
        raise NotAStudyError(
            f"{path} has format {version}; this Tierwise ({__version__}) knows up to {FORMAT}.",
            hint="Update Tierwise: `pip install -U tierwise`.",
            path=str(path),
        )
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    for version in range(_version(connection) + 1, FORMAT + 1):
        # executescript would commit first; one statement a time keeps the step atomic.
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(_STEPS[version - 1]):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO format_history VALUES (?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
                (version, __version__),
            )
            connection.execute(f"PRAGMA user_version = {version}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _statements(script: str) -> list[str]:
    lines = [line for line in script.splitlines() if not line.strip().startswith("--")]
    return [part for part in "\n".join(lines).split(";") if part.strip()]
