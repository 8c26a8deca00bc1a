"""A study in a file system that is really full, at every moment that writes; run in a namespace.

    unshare --mount python tests/integration/study/full_disk.py FOLDER

Mounts a small tmpfs, which only this process and its children see and which ends with them. First
new runs get a little more space each, until one stops at an artefact. Then one study's space is
given out step by step, so that run after run stops at a later write: the database's tables, blocks,
the report. Then a disk is filled while blocks are being measured. After
every stop: exit code 3, a message that names the file, nothing half-written, every block whole.
"""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from killing import blocks_of, start_agents

from conftest import make_subject
from tierwise.errors import NotAStudyError
from tierwise.store.read import read_results
from tierwise.store.results import TrialState

DISK_BYTES = 16 * 2**20
# What is given on top of what is in use: a staircase over everything that a run writes. The report
# alone takes more than a megabyte.
STEPS_BYTES = (0, 60_000, 140_000, 50_000, 90_000, 200_000, 400_000)


class Disk:
    """A tmpfs with a filler that leaves as much space as is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.filler = folder, folder / "filler"
        folder.mkdir()
        options = f"size={DISK_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)

    def leave(self, free_bytes: int) -> None:
        """Fill it up to ``free_bytes``."""
        with suppress(FileNotFoundError):
            self.filler.unlink()
        space = os.statvfs(self.folder)
        size, wanted = 0, space.f_bavail * space.f_frsize - free_bytes
        piece = wanted
        with self.filler.open("wb") as file:
            # In smaller and smaller pieces: a run may be writing meanwhile.
            while wanted - size >= space.f_frsize <= piece:
                try:
                    os.posix_fallocate(file.fileno(), size, min(piece, wanted - size))
                    size += min(piece, wanted - size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017 - no test, a script
                    piece //= 2

    def make_room(self) -> None:
        """Take the filler away."""
        self.filler.unlink()


def run(study: Path, out: Path, command: str = "run") -> subprocess.Popen:
    arguments = [str(study), "-o", str(out)] if command == "run" else [str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "tierwise", command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def stopped(process: subprocess.Popen, folder: Path) -> str:
    """Check that it ended as it should on a full disk; gives the file that had no space."""
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 3, (process.returncode, stderr)
    assert "Traceback" not in stderr, stderr
    assert "the same command again" in stderr, stderr
    _, _, rest = stderr.partition("No space is left for ")
    assert rest, stderr
    half = [path for path in folder.rglob("*") if ".part" in path.name]
    assert not half, half
    with suppress(NotAStudyError):
        read_results(folder)
    return Path("".join(rest.split("(")[0].split())).name


def at_an_artefact(disk: Disk, study: Path) -> None:
    """A new study has room for its database, but not for what it builds."""
    for free_bytes in range(150_000, 500_000, 15_000):
        out = disk.folder / f"new-{free_bytes}"
        disk.leave(free_bytes)
        name = stopped(run(study, out), out)
        disk.make_room()
        if name.endswith(".onnx"):
            complete(study, out, {})
            say(f"stopped at {name} with {free_bytes} bytes; then to the end")
            return
        shutil.rmtree(out)
    raise AssertionError("no run stopped at an artefact")


def staircase(disk: Disk, study: Path) -> None:
    """One study, given a little more space each time that it has none left."""
    out, blocks, stops = disk.folder / "staircase", {}, []
    for free_bytes in STEPS_BYTES:
        disk.leave(free_bytes)
        process = run(study, out)
        stops.append(stopped(process, out))
        after = blocks_of(out)
        assert all(after.get(key) == block for key, block in blocks.items()), "a block was lost"
        blocks = after
    assert {"tierwise.db", "report.html"} <= set(stops), stops
    disk.make_room()
    complete(study, out, blocks)
    say(f"stopped at {', '.join(stops)}; then to the end")


def filled_while_measuring(disk: Disk, study: Path) -> None:
    """The disk fills up between two blocks, from one moment to the next."""
    for number, after_blocks in enumerate((1, 7)):
        out = disk.folder / f"filled-{number}"
        process = run(study, out)
        while len(blocks_of(out)) < after_blocks:
            assert process.poll() is None, process.communicate()[1]
        disk.leave(0)
        assert stopped(process, out) == "tierwise.db"
        blocks = blocks_of(out)
        assert len(blocks) >= after_blocks
        disk.make_room()
        complete(study, out, blocks)
        say(f"filled after {len(blocks)} blocks; then to the end")


def complete(study: Path, out: Path, blocks: dict) -> None:
    """With space, the same command goes on to the end and keeps what there was."""
    process = run(study, out)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    after = blocks_of(out)
    assert all(after[key] == block for key, block in blocks.items()), "a block was lost"
    assert {t.state for t in read_results(out).trials} == {TrialState.MEASURED}
    assert (out / "report.html").read_text().rstrip().endswith("</html>")


def no_room_for_tables(disk: Disk, study: Path) -> None:
    """`export` and `report` of a finished study on a full disk leave what was there."""
    out = disk.folder / "staircase"
    before = (out / "report.html").read_bytes()
    for command in ("export", "report"):
        disk.leave(0)
        stopped(run(study, out, command), out)
        assert (out / "report.html").read_bytes() == before
        disk.make_room()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main() -> None:
    folder = Path(sys.argv[1])
    with ExitStack() as stack:
        study = make_subject(folder / "subject")
        start_agents(study, stack)
        text = study.read_text()
        study.write_text(text.replace("samples: 100", "samples: 12"))
        disk = Disk(folder / "disk")
        at_an_artefact(disk, study)
        staircase(disk, study)
        no_room_for_tables(disk, study)
        study.write_text(text)  # long enough to be still measuring when the disk is full
        filled_while_measuring(disk, study)


if __name__ == "__main__":
    main()
