"""Statistics of 1,000,000 samples in 50 groups, as a person would run them: file to tables.

``python benchmarks/analyze_speed.py``; the samples are log-normal with seed 0.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SAMPLES, GROUPS, BLOCKS = 1_000_000, 50, 400
MOST_S = 10.0
COMMAND = [sys.executable, "-m", "tierwise", "analyze"]


def write_samples(path: Path) -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(GROUPS), SAMPLES // GROUPS)
    block = np.tile(np.arange(SAMPLES // GROUPS) % BLOCKS, GROUPS)
    seconds = rng.lognormal(-4, 0.3, SAMPLES) * (1 + group / 500)
    columns = np.column_stack([group, block, seconds])
    np.savetxt(path, columns, ["g%d", "%d", "%.9f"], ",", header="group,block,seconds", comments="")


def main() -> int:
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder) / "samples.csv"
        write_samples(csv)
        print(f"{SAMPLES} samples, {GROUPS} groups, {csv.stat().st_size / 1e6:.0f} MB of CSV")
        for words in ([], ["--block", "block"]):
            options = ["--group", "group", "--value", "seconds", *words, "-o", f"{folder}/out"]
            before = os.times().children_user
            start = time.perf_counter()
            subprocess.run(
                [*COMMAND, str(csv), *options, "--format", "csv"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            took_s = time.perf_counter() - start
            cpu_s = os.times().children_user - before
            missed += took_s > MOST_S
            print(f"{' '.join(words) or 'no blocks':>14}: {took_s:.1f} s (CPU {cpu_s:.1f} s)")
    print(f"aim: {MOST_S:g} s; {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
