"""What emulated links and CPU shares achieve against what was asked of them.

``python benchmarks/emulation.py [root|userns|userspace|cpu|awake|pauses ...]``: all, where none is
named.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from floor import SHAPE, save_segments
from tierwise.errors import EnvironmentFault
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.tiers import emulated
from tierwise.tiers.emulated import awake
from tierwise.tiers.emulated.peer import exchange, work
from tierwise.tiers.emulated.probing import cpu_factor, peer_of, ping_bits
from tierwise.tiers.emulated.workers import start_worker, stop_worker
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology

RATES = (1, 10, 50, 200)  # Mbit/s
ROUND_TRIPS_S = (0.0, 0.01, 0.05)
SIZES = (("50 KB", 50_000), ("1 MB", 1_000_000), ("20 MB or 3 s", 20_000_000))
MOST_S = 3.0
SHARES = (0.25, 0.5, 1.0)
WORK_S = (0.005, 0.05, 0.3)
TIMES = {0.005: 25, 0.05: 15, 0.3: 9}  # the longest spells of a slow core are seconds
# Within 5% of the rate or 1 ms, 1 ms of the round trip, 10% of the share.
RATE_ERROR, TIME_ERROR_S, SHARE_ERROR = 0.05, 0.001, 0.10
PAUSES_S = (0.0, 0.01, 0.05, 0.1)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BUSY_LOAD = 0.5  # other processes that want a core, per core

AGENT = """
import json, socket, sys
host, port = sys.argv[1].rsplit(":", 1)
server = socket.create_server((host, int(port)))
print(json.dumps({"listening": "http://%s:%d" % server.getsockname()[:2]}), flush=True)
while True:
    server.accept()
"""


def idle_agent(_: Tier, listen: str) -> list[str]:
    return [sys.executable, "-c", AGENT, listen]


def measure_links(backend: str, rates: Sequence[float]) -> int:
    # A core each, as in a study: the cores are kept awake.
    chain = Topology((Tier("mobile", cpus=1.0), Tier("edge", cpus=1.0)))
    try:
        running = emulated.start(chain, idle_agent, backend=backend)
    except EnvironmentFault as fault:
        print(f"{backend}: {fault}")
        return 0
    missed = 0
    with running:
        print(f"{running.record['links']}: payload's rate as share of what was asked, up / down")
        header = "".join(f"{name:>18}" for name, _ in SIZES)
        print(f"{'Mbit/s':>8}{'rtt':>8}{'rtt error':>12}{header}")
        for rate in rates:
            for rtt_s in ROUND_TRIPS_S:
                shape = LinkShape(rate, rtt_s)
                running.shape(NetworkCondition({"mobile-edge": shape}))
                error_s, sizes = measure_shape(running, rate, rtt_s)
                missed += abs(error_s) > TIME_ERROR_S
                cells = ""
                for size, took_s in sizes:
                    asked_s = size * 8 / rate
                    allowed_s = max(RATE_ERROR * asked_s, TIME_ERROR_S)
                    missed += any(abs(one - asked_s) > allowed_s for one in took_s)
                    cells += f"{' / '.join(f'{asked_s / one:.3f}' for one in took_s):>18}"
                times = f"{f'{rtt_s * 1e3:g} ms':>8}{f'{error_s * 1e3:+.2f} ms':>12}"
                print(f"{rate / 1e6:8g}{times}{cells}", flush=True)
    return missed


def measure_shape(running, rate, rtt_s):
    """Error of the round trip; for each size, seconds up and down without the round trip."""
    with peer_of(running, "edge") as peer:
        peer.send({"listen": running.host("edge")})
        port = peer.receive()[0]["port"]
        address = running.probe_address("mobile-edge", "edge", port)
        with running.dial("mobile", *address) as connection:
            round_trip_s = statistics.median(exchange(connection, 0, 1) for _ in range(15))
            for _ in range(3):  # open the window, as warm requests have it
                size = int(min(4e6, rate / 8 * 0.3))
                exchange(connection, size, 1)
                exchange(connection, 0, size)
            sizes = []
            for _, asked in SIZES:
                size = int(min(asked, rate / 8 * MOST_S))
                times = 5 if size <= 50_000 else 3 if size <= 1_000_000 else 1
                # the last byte's way and the way of the answer: one round trip
                up_s = statistics.median(exchange(connection, size, 1) for _ in range(times))
                down_s = statistics.median(exchange(connection, 0, size) for _ in range(times))
                sizes.append((size, (up_s - round_trip_s, down_s - round_trip_s)))
    return round_trip_s - ping_bits(running) / rate - rtt_s, sizes


def measure_cpu(kept_by: Sequence[str]) -> int:
    missed = 0
    print("speed of work inside the share, relative to outside")
    print(f"{'share':>8}{'kept by':>10}" + "".join(f"{s * 1e3:>9g} ms" for s in WORK_S))
    for cpus in (*SHARES, 1.5):  # the last for the record: on two cores it leaves none to the study
        threads = math.ceil(cpus)
        for backend in kept_by:
            only = Topology((Tier("edge", cpus=cpus),))
            try:
                running = emulated.start(only, idle_agent, backend="userspace", cpu=backend)
            except EnvironmentFault as fault:
                print(f"{cpus:8g}{backend:>10}  {fault}")
                continue
            with running:
                factors = [
                    cpu_factor(running, "edge", work_s, TIMES[work_s], threads) for work_s in WORK_S
                ]
            said = running.record["cpu@edge"]
            print(
                f"{cpus:8g}{backend:>10}" + "".join(f"{f:12.3f}" for f in factors) + f"  {said}",
                flush=True,
            )
            if backend == "auto" and cpus in SHARES:
                missed += sum(abs(factor - cpus) > SHARE_ERROR * cpus for factor in factors)
    return missed


def measure_awake() -> int:
    """Speed of work after pauses, on a core that sleeps meanwhile and on one that is kept awake."""
    core = max(os.sched_getaffinity(0))
    home = os.sched_getaffinity(0)
    print(f"5 ms of work in every 20 ms on core {core}, million rounds a CPU second: quantiles")
    print(f"{'core':>12}" + "".join(f"{q:>8.0%}" for q in QUANTILES))
    for _ in range(3):
        for kept in (False, True):
            worker = start_worker(lambda control: awake.run(control, [core])) if kept else None
            os.sched_setaffinity(0, {core})
            try:
                speeds = [speed_after_pause() for _ in range(200)]
            finally:
                os.sched_setaffinity(0, home)
                if worker:
                    stop_worker(*worker)
            found = statistics.quantiles(speeds, n=20)
            cells = "".join(f"{found[round(q * 20) - 1] / 1e6:8.2f}" for q in QUANTILES)
            print(f"{'kept awake' if kept else 'left alone':>12}{cells}", flush=True)
    return 0


def measure_pauses() -> int:
    """What computing after a pause costs without agents, links and limits."""
    print("ms of a network and us of a few lines of Python after a pause, medians of 15")
    print(f"{'core':>12}{'pause':>12}" + "".join(f"{p * 1e3:>11g} ms" for p in PAUSES_S))
    feeds = {"image": np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)}
    home, core = os.sched_getaffinity(0), max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(save_segments(Path(folder))["whole"], SessionOptions(threads=1))
    others = {
        "kept awake": lambda control: awake.run(control, sorted(home)),
        "beside work": lambda _: compute_on(min(home)),
    }
    for place in ("any", "pinned", *others):
        worker = start_worker(others[place]) if place in others else None
        os.sched_setaffinity(0, home if place == "any" else {core})
        for how, wait in (("asleep", time.sleep), ("in a loop", spin)):
            cells = ""
            for pause_s in PAUSES_S:
                took = [timed_after(wait, pause_s, lambda: session.run(feeds)) for _ in range(15)]
                lines = [timed_after(wait, pause_s, few_lines) for _ in range(15)]
                cells += (
                    f"{statistics.median(took) * 1e3:8.2f}{statistics.median(lines) * 1e6:6.0f}"
                )
            print(f"{place:>12}{how:>12}{cells}", flush=True)
        os.sched_setaffinity(0, home)
        if worker:
            stop_worker(*worker)
    return 0


def compute_on(core: int) -> None:
    """For ever; two virtual cores may be one core of the host."""
    os.sched_setaffinity(0, {core})
    while True:
        work(100_000)


def timed_after(wait, pause_s, what) -> float:
    if pause_s:
        wait(pause_s)
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def few_lines() -> str:
    return json.dumps({"a": [number * 2 for number in range(40)], "b": "x" * 10})


def speed_after_pause() -> float:
    time.sleep(0.015)
    _, cpu_s = work(20_000)
    return 20_000 / cpu_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    every = ["root", "userns", "userspace", "cpu", "awake", "pauses"]
    parser.add_argument("what", nargs="*", default=every)
    parser.add_argument("--rates", type=float, nargs="*", default=RATES, help="Mbit/s")
    ways = ["auto", "signals", "cgroup"]
    parser.add_argument("--kept-by", nargs="*", default=ways, choices=ways, help="of shares")
    options = parser.parse_args()
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if load > BUSY_LOAD:
        print(f"This machine is busy with other work (load {load:.1f} per core): expect less.")
    others = {
        "cpu": partial(measure_cpu, options.kept_by),
        "awake": measure_awake,
        "pauses": measure_pauses,
    }
    rates = [rate * 1e6 for rate in options.rates]
    missed = sum(others[w]() if w in others else measure_links(w, rates) for w in options.what)
    print(f"{missed} figures further off than 5% or 1 ms (links) or 10% (shares)")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
