"""What a request computes on a share of a core, against a whole one.

``python benchmarks/request_shares.py``: real agents (`tierwise serve`), a model that their session
holds, requests over HTTP. The probe of a study computes in a process of its own; here the agent's
threads, its session and the tiers beside it take part, as in a study's samples.

Each share once with nothing but the tier itself and once with all tiers up as in a study, beside a
whole core in an emulation of its own. Blocks of requests alternate (request by request in turn, the
whole core pays for what the others left in the caches); the figure is the median of what
the whole core computes over the median of what the share does, and beside it what the study's own
probe says of that tier. Exit code 1 if a model of 5 or 50 ms is more than 10% off.
"""

import argparse
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from floor import SHAPE, save_segments
from tierwise.serving.client import AgentClient
from tierwise.serving.stage import StageSpec
from tierwise.study.measuring import agent_command
from tierwise.tiers import emulated
from tierwise.tiers.emulated.probing import probe_cpu
from tierwise.tiers.emulated.shares import CpuBackend
from tierwise.tiers.running import RunningTopology
from tierwise.tiers.topology import Tier, Topology

SHARES = {"mobile": 0.25, "edge": 0.5}
WHOLE, REFERENCE = "cloud", "whole"
# Blocks of convolutions: about 1, 5 and 50 ms on a core; requests of each model to each tier. The
# first is for the record: a tier that was idle is looked at every millisecond.
BLOCKS = {"1 ms": 1, "5 ms": 8, "50 ms": 85}
REQUESTS = {"1 ms": 60, "5 ms": 40, "50 ms": 12}
FOR_THE_RECORD = {"1 ms"}
BLOCKS_OF = 4
# Debts are paid meanwhile.
PAUSE_S = 0.02
SHARE_ERROR = 0.10


@contextmanager
def deployed(
    shares: Mapping[str, float], models: Mapping[str, Path], kept_by: CpuBackend
) -> Iterator[tuple[RunningTopology, dict[str, AgentClient]]]:
    """Tiers of ``shares`` whose agents hold all models; clients by tier."""
    token = secrets.token_urlsafe(16)
    tiers = tuple(Tier(name, cpus=cpus, token=token) for name, cpus in shares.items())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        token_file = folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        command = partial(agent_command, token_file=token_file, folder=folder)
        running = stack.enter_context(emulated.start(Topology(tiers), command, cpu=kept_by))
        first = tiers[0].name
        clients = {}
        for tier in shares:
            dial = partial(running.dial, first)
            client = AgentClient(running.url(first, tier), dial, token)
            stack.callback(client.close)
            for model, file in models.items():
                client.load(StageSpec(name=named(model), artifact=client.put_artifact(file)))
            clients[tier] = client
        yield running, clients


def named(model: str) -> str:
    return model.replace(" ", "-")


def compute_s(clients: Mapping[str, AgentClient], model: str) -> dict[str, float]:
    """Seconds that each tier's segment takes: medians of requests, in blocks in turn."""
    feeds = {"image": np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)}
    took: dict[str, list[float]] = {tier: [] for tier in clients}
    order, rng = list(clients), random.Random(0)
    for _ in range(BLOCKS_OF):
        rng.shuffle(order)
        for tier in order:
            for request in range(REQUESTS[model] // BLOCKS_OF + 1):
                time.sleep(PAUSE_S)
                (hop,) = clients[tier].infer(named(model), feeds).hops
                if request:
                    took[tier].append(hop.compute_s)
    return {tier: statistics.median(values) for tier, values in took.items()}


def report(
    label: str, running: RunningTopology, clients: Mapping[str, AgentClient], models: Sequence[str]
) -> int:
    """A row for each tier with a share; how many figures are too far off."""
    found = {model: compute_s(clients, model) for model in models}
    missed = 0
    for tier in running.topology.tiers:
        cells = ""
        for model, took_s in found.items():
            factor = took_s[REFERENCE] / took_s[tier.name]
            off = abs(factor - tier.cpus) > SHARE_ERROR * tier.cpus
            missed += off and model not in FOR_THE_RECORD
            cells += f"{took_s[REFERENCE] * 1e3:9.2f}{took_s[tier.name] * 1e3:9.2f}{factor:8.3f}"
        probe = probe_cpu(running, tier).achieved
        words = running.record[f"cpu@{tier.name}"]
        print(f"{tier.cpus:6g}{label:>10}{cells}{probe:8.3f}  {words}", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kept-by", default="auto", choices=["auto", "signals", "cgroup"])
    parser.add_argument("--models", nargs="*", default=list(BLOCKS), choices=list(BLOCKS))
    options = parser.parse_args()
    print("compute of a request, ms: a whole core, the share, and their ratio; the study's probe")
    header = "".join(f"{model + ' model':>26}" for model in options.models)
    print(f"{'share':>6}{'tiers up':>10}{header}{'probe':>8}")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        models = {}
        for model in options.models:
            place = Path(folder) / named(model)
            place.mkdir()
            models[model] = save_segments(place, BLOCKS[model])["whole"]
        with deployed({WHOLE: 1.0}, models, options.kept_by) as (_, alone):
            whole = {REFERENCE: alone[WHOLE]}
            for label, shares in (
                *(("itself", {tier: share}) for tier, share in SHARES.items()),
                ("all", {**SHARES, WHOLE: 1.0}),
            ):
                with deployed(shares, models, options.kept_by) as (running, clients):
                    missed += report(label, running, {**whole, **clients}, options.models)
    print(f"{missed} figures of models of 5 ms and more off by more than 10% of the share")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
