"""How long threads of a session should look out for more work: `python benchmarks/spinning.py`.

ONNX Runtime's threads spin after a run, in case another one follows. Where one session computes
what another waits for, on the same cores, or where a device has anything else to do, somebody pays
for that. EfficientNet-Lite0 with random weights, two threads, whole and as two segments in two
sessions one after the other; with ONNX Runtime's default and with limits, in blocks that alternate.
Between two requests there is a pause, as between a user's. Printed: p50 of the latency, and CPU
time a request. Exit code 1 where the limit that is used takes more of either than the default for
two segments, or 10% more latency for the whole.
"""

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

import tierwise  # noqa: F401 - before ONNX Runtime, whose telemetry it switches off

# isort: split
import numpy as np
import onnxruntime as ort

from beside.cases import lite_cases
from tierwise.data.preprocess import Preprocess
from tierwise.runtime.session import SPIN_US

DEFAULT = "default"
LIMITS_US = (100, 200, 500, 1000, 3000)
THREADS, COUNTED, WARM_UP = 2, 20, 3


def open_sessions(models: list[Path], limit: str) -> list[ort.InferenceSession]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 4
    if limit != DEFAULT:
        options.add_session_config_entry("session.intra_op.spin_duration_us", limit)
    return [ort.InferenceSession(model, options) for model in models]


def run_block(
    sessions: list[ort.InferenceSession], pixels: np.ndarray, pause_s: float
) -> tuple[list[float], float]:
    """Seconds of each counted request, and CPU seconds of all of them with their pauses."""
    times: list[float] = []
    used_s = 0.0
    for request in range(WARM_UP + COUNTED):
        if request == WARM_UP:
            used_s = time.process_time()
        time.sleep(pause_s)
        begun = time.perf_counter()
        feeds = {sessions[0].get_inputs()[0].name: pixels}
        for session in sessions:
            names = [output.name for output in session.get_outputs()]
            feeds = dict(zip(names, session.run(names, feeds), strict=True))
        if request >= WARM_UP:
            times.append(time.perf_counter() - begun)
    return times, time.process_time() - used_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pause-ms", type=float, default=10.0)
    parser.add_argument("--blocks", type=int, default=6)
    options = parser.parse_args()
    limits = [DEFAULT, *map(str, sorted({*LIMITS_US, SPIN_US}))]
    print(f"pause {options.pause_ms:g} ms; used: {SPIN_US} us")
    print(
        f"{'limit, us':>10}{'whole, ms':>12}{'CPU, ms':>10}{'two segments, ms':>19}{'CPU, ms':>10}"
    )
    found: dict[str, list[float]] = {limit: [] for limit in limits}
    with tempfile.TemporaryDirectory() as folder:
        whole, halves = list(lite_cases(Path(folder)))[:2]
        pixels = Preprocess.model_validate(whole.preprocess).apply(whole.image)
        for case in (whole, halves):
            times: dict[str, list[float]] = {limit: [] for limit in limits}
            cpu_s = dict.fromkeys(limits, 0.0)
            for block in range(options.blocks):
                for limit in limits[:: -1 if block % 2 else 1]:
                    sessions = open_sessions(case.ours, limit)
                    took_s, used_s = run_block(sessions, pixels, options.pause_ms / 1e3)
                    times[limit] += took_s
                    cpu_s[limit] += used_s / COUNTED / options.blocks
                    del sessions
                    gc.collect()  # their threads end here, not in the next block
            for limit in limits:
                found[limit] += [float(np.median(times[limit])), cpu_s[limit]]
    for limit, row in found.items():
        cells = (
            f"{value * 1e3:{width}.2f}" for value, width in zip(row, (12, 10, 19, 10), strict=True)
        )
        print(f"{limit:>10}{''.join(cells)}")
    used, other = found[str(SPIN_US)], found[DEFAULT]
    worse = used[0] > 1.1 * other[0] or used[2] > other[2] or used[3] > other[3]
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
