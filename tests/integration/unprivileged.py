"""Commands as a user without rights runs them, also where the tests are root's."""

import os
import shlex
import sys
from pathlib import Path

import pytest

NOBODY = 65534  # by convention the same everywhere: no file is theirs, and no right


def unprivileged(command: list[str], folder: Path, *, rights: tuple[str, ...] = ()) -> list[str]:
    """``command`` as somebody who is not root would run it; ``rights``: capabilities they have.

    Root becomes nobody, in a mount namespace of its own that ends with the command: there the
    interpreter can be read also where it lies in somebody's closed home. ``folder`` is given to
    nobody.
    """
    if os.geteuid() != 0:
        return command
    try:
        os.chown(folder, NOBODY, NOBODY)
    except OSError as error:  # root of a container that has no other user
        pytest.skip(f"nothing can be made another user's here: {error.strerror}")
    steps = ["set -e"]
    for closed, needed in closed_to_others().items():
        holds = [folder / f"hold-{number}" for number in range(len(needed))]
        for hold, path in zip(holds, needed, strict=True):
            hold.mkdir(exist_ok=True)
            steps.append(shlex.join(["mount", "--bind", str(path), str(hold)]))
        steps.append(shlex.join(["mount", "-t", "tmpfs", "-o", "mode=0755", "none", str(closed)]))
        for hold, path in zip(holds, needed, strict=True):
            steps.append(shlex.join(["mkdir", "-p", str(path)]))
            steps.append(shlex.join(["mount", "--bind", str(hold), str(path)]))
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if rights:
        given = ",".join(f"+{right}" for right in rights)
        drop += [f"--inh-caps={given}", f"--ambient-caps={given}"]
    steps.append(shlex.join(["exec", *drop, *command]))
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(steps)]


def closed_to_others() -> dict[Path, list[Path]]:
    """Folders that only their owner may enter, and what of Python and of this project is there."""
    wanted = {Path(__file__).parents[2], Path(sys.prefix), Path(sys.base_prefix)}
    wanted |= {Path(entry) for entry in sys.path if Path(entry).is_dir()}
    found: dict[Path, list[Path]] = {}
    for path in sorted(map(Path.resolve, wanted)):
        above = [*reversed(path.parents), path]
        closed = next((one for one in above if not one.stat().st_mode & 0o001), None)
        if closed is not None:
            inside = found.setdefault(closed, [])
            if not any(path.is_relative_to(one) for one in inside):
                inside.append(path)
    return found
