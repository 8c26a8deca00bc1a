"""Run every benchmark of this folder, each in a process of its own; go on when one fails.

Run: make bench, or python benchmarks/run.py [NAME ...] for some of them. A benchmark is a module
with a ``main()`` that prints its table and the command, and returns 0 where its targets are met.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent


def main(names: Sequence[str] = ()) -> int:
    found = {path.stem: path for path in sorted(FOLDER.glob("*.py")) if path.name != "run.py"}
    if unknown := sorted(set(names) - found.keys()):
        print(f"There is no benchmark {unknown[0]!r}. There are: {', '.join(found)}.")
        return 2
    failed = []
    for name in names or found:
        print(f"=== {name} ===", flush=True)
        start = time.perf_counter()
        code = subprocess.run([sys.executable, found[name]], check=False).returncode
        print(f"=== {name}: exit {code}, {time.perf_counter() - start:.0f} s ===\n", flush=True)
        if code != 0:
            failed.append(name)
    if failed:
        print(f"Failed or missed a target: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
