"""What belongs into a study's directory, and what does not."""

import shutil
from pathlib import Path

from tierwise.store.database import FILE_NAME


def foreign_files(folder: Path) -> list[str]:
    """Names in ``folder`` that make it somebody else's; empty for a study, new or empty one."""
    if not folder.exists() or (folder / FILE_NAME).exists():
        return []
    # What a run leaves that was stopped before its database was made.
    ours = {".lock", "study.yaml", "artefacts", "subject"}
    return sorted(path.name for path in folder.iterdir() if path.name not in ours)


def clear(folder: Path) -> None:
    """Remove what a study left in ``folder``."""
    for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", "study.yaml", "report.html"):
        (folder / name).unlink(missing_ok=True)
    if (folder / "artefacts").is_dir():
        shutil.rmtree(folder / "artefacts")
