"""Side by side with the study's way of serving: `python benchmarks/study_way.py [CASE ...]`.

The way of the study (`beside/flask_server.py`) against Tierwise's agents, in blocks of requests
that alternate, the first block and the first request of each not counted: no way pays for what the
other left in the caches. Servers are started several times, since p50s of single starts differ by
a third: medians over the starts are printed, and each start's ratio. Both ways pre-process with the
same code and use as many threads as there are cores (ONNX Runtime's default, `--threads`); their
outputs must agree. Each way has its own emulated tiers with as many cores as threads, and where a
partition crosses a link, the same shape of it (`tierwise.tiers.emulated`). The models are those of
`beside/cases.py`.

Printed beside each ratio: the one of a server that adds nothing at all to the model, its
pre-processing and the link. Exit code 1 where an aim is missed that such a server would reach.
Needs Flask (the extra `dev`).
"""

import argparse
import contextlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from beside import flask_server
from beside.cases import CASES, Case
from beside.flask_server import Infer
from tierwise.data.preprocess import Preprocess
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.serving.client import AgentClient, Reply
from tierwise.serving.stage import NextHop, StageSpec
from tierwise.serving.timing import parts
from tierwise.tiers import emulated
from tierwise.tiers.running import RunningTopology
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology

THREADS = os.cpu_count() or 1
BLOCK = 5
SHOWN_S = 5e-5  # of our own account
SLOW_BIT_PER_S = 10e6


def tierwise_way(
    running: RunningTopology,
    tiers: Sequence[str],
    case: Case,
    token: str,
    threads: int,
) -> tuple[Infer, list[Reply]]:
    """Load the models, the tail first; gives the client's call, and the replies to its calls."""
    following, client = None, None
    for position, tier in reversed(list(enumerate(tiers))):
        dial = partial(running.dial, tier)
        client = AgentClient(running.url(tier, tier), dial=dial, token=token)
        stage = StageSpec(
            name="stage",
            artifact=client.put_artifact(case.ours[position]),
            preprocess=case.preprocess if position == 0 else None,
            encodings=case.encodings if position + 1 < len(tiers) else {},
            next=following,
            threads=threads,
        )
        client.load(stage)
        if position:
            address = running.url(tiers[position - 1], tier)
            following = NextHop(url=address, model="stage", tier=tier, token=token)
            client.close()

    replies: list[Reply] = []

    def call(image: bytes) -> tuple[float, dict[str, np.ndarray]]:
        replies.append(client.infer("stage", image))
        return replies[-1].total_s, dict(replies[-1].outputs)

    return call, replies


def alone(case: Case, threads: int) -> tuple[float, float]:
    """What the pre-processing and the models take by themselves, in a loop: p50 in seconds."""
    steps = Preprocess.model_validate(case.preprocess)
    sessions = [open_session(model, SessionOptions(threads=threads)) for model in case.ours]
    times = []
    for _ in range(10):
        begun = perf_counter()
        tensors = {sessions[0].inputs[0].name: steps.apply(case.image)}
        prepared = perf_counter()
        for session in sessions:
            tensors = session.run(tensors)
        times.append((prepared - begun, perf_counter() - prepared))
    steps_s, models_s = np.median(times, axis=0)
    return float(steps_s), float(models_s)


def commands(case: Case, tiers: Sequence[str], threads: int, folder: Path, token: Path):
    """What starts a tier's server, for each way."""

    def flask(tier: Tier, listen: str) -> list[str]:
        position = tiers.index(tier.name)
        steps = json.dumps(case.preprocess) if position == 0 else ""
        model = str(case.theirs[position])
        return [sys.executable, flask_server.__file__, model, steps, str(threads), listen]

    def agent(tier: Tier, listen: str) -> list[str]:
        return [sys.executable, "-m", "tierwise", "serve", "--tier", tier.name, "--listen", listen,
                "--cache", str(folder / tier.name), "--token-file", str(token),
                "--threads", str(threads)]  # fmt: skip

    return flask, agent


def compare(case: Case, blocks: int, threads: int, folder: Path) -> tuple[dict, list[Reply], str]:
    """Seconds of each way's requests, in blocks that alternate; our own replies; what links are."""
    tiers = ("mobile", "edge")[: len(case.ours)]
    topology = Topology(tuple(Tier(name, cpus=float(threads)) for name in tiers))
    token = folder / "token"
    token.write_text("0123456789abcdef" * 2)
    flask, agent = commands(case, tiers, threads, folder, token)
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(emulated.start(topology, flask))
        mine = stack.enter_context(emulated.start(topology, agent))
        ours, replies = tierwise_way(mine, tiers, case, token.read_text(), threads)
        ways = {"study": flask_server.client(other, tiers), "tierwise": ours}
        if case.bandwidth_bit_per_s is not None:
            shape = NetworkCondition({"mobile-edge": LinkShape(case.bandwidth_bit_per_s)})
            for running in (other, mine):
                running.shape(shape)
        times: dict[str, list[float]] = {name: [] for name in ways}
        outputs = {}
        for block in range(blocks + 1):
            for name in sorted(ways, reverse=block % 2 == 1):
                for request in range(BLOCK + 1):
                    took_s, outputs[name] = ways[name](case.image)
                    if block and request:
                        times[name].append(took_s)
        for (name, array), mirrored in zip(
            outputs["study"].items(), outputs["tierwise"].values(), strict=True
        ):
            np.testing.assert_allclose(
                mirrored, array, rtol=0.01, atol=case.tolerance, err_msg=name
            )
    counted = replies[BLOCK + 1 :]
    counted = [reply for n, reply in enumerate(counted) if n % (BLOCK + 1)]
    return times, counted, str(mine.record["links"])


@dataclass(frozen=True)
class Start:
    """What one start of both ways' servers took, p50s in seconds.

    Attributes:
        theirs_s: A request in the study's way.
        ours_s: In Tierwise's.
        steps_s: The pre-processing by itself.
        models_s: The models by themselves.
        link_s: What the bits of our request and answer take on the link.
        parts_s: Our own account.
        links: What made the links.
    """

    theirs_s: float
    ours_s: float
    steps_s: float
    models_s: float
    link_s: float
    parts_s: dict[str, float]
    links: str

    @property
    def ratio(self) -> float:
        """How many times as long the study's way takes."""
        return self.theirs_s / self.ours_s

    @property
    def most(self) -> float:
        """The ratio of a server that adds nothing."""
        return self.theirs_s / (self.steps_s + self.models_s + self.link_s)


def measure(case: Case, blocks: int, threads: int, folder: Path) -> Start:
    """Start both ways' servers and compare them."""
    steps_s, models_s = alone(case, threads)
    times, replies, links = compare(case, blocks, threads, folder)
    told = [parts(reply, [hop.tier for hop in reply.hops]) for reply in replies]
    keys = dict.fromkeys(key for each in told for key in each)
    return Start(
        *(float(np.median(times[way])) for way in ("study", "tierwise")),
        steps_s,
        models_s,
        crossing_s(case, replies),
        {key: float(np.median([each.get(key, 0.0) for each in told])) for key in keys},
        links,
    )


def crossing_s(case: Case, replies: Sequence[Reply]) -> float:
    """What the bits of our request and answer take on the link."""
    if case.bandwidth_bit_per_s is None:
        return 0.0
    sizes = [reply.hops[0].sent_bytes + reply.received_bytes for reply in replies]
    return 8 * float(np.median(sizes)) / case.bandwidth_bit_per_s


def report(case: Case, starts: Sequence[Start]) -> bool:
    """Print the comparison; whether an aim was missed that could have been reached."""

    def median(name: str) -> float:
        return float(np.median([getattr(start, name) for start in starts]))

    ratio, most = median("ratio"), median("most")
    account = {
        key: float(np.median([start.parts_s.get(key, 0.0) for start in starts]))
        for key in starts[0].parts_s
    }
    print(
        f"{case.label}: study's way {median('theirs_s') * 1e3:.1f} ms, Tierwise "
        f"{median('ours_s') * 1e3:.1f} ms, {ratio:.1f} x (aim: {case.aim:g} x"
        f"{'' if case.aim <= most else ', out of reach'}; starts: "
        f"{' '.join(f'{start.ratio:.1f}' for start in starts)}; a server that adds nothing to the "
        f"model's {median('models_s') * 1e3:.1f} ms, {median('steps_s') * 1e3:.1f} of "
        f"pre-processing and the link: {most:.1f} x)\n  Tierwise's account, p50 ms: "
        f"{', '.join(f'{key} {s * 1e3:.2f}' for key, s in account.items() if s > SHOWN_S)}"
        f"\n  Links by {starts[0].links}",
        flush=True,
    )
    return ratio < case.aim <= most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--starts", type=int, default=7, help="of both ways' servers, a case")
    parser.add_argument("--blocks", type=int, default=6, help=f"of {BLOCK} requests, a start")
    parser.add_argument("--threads", type=int, default=THREADS, help="and cores, of each tier")
    options = parser.parse_args()
    missed = 0
    for name in options.cases or CASES:
        with tempfile.TemporaryDirectory() as text:
            for case in CASES[name](Path(text)):
                slow_link = (case.bandwidth_bit_per_s or math.inf) < SLOW_BIT_PER_S
                count, blocks = options.starts, options.blocks
                if slow_link or name == "wide":  # a second a request and more
                    count, blocks = 1 if slow_link else 3, 2
                starts = [measure(case, blocks, options.threads, Path(text)) for _ in range(count)]
                missed += report(case, starts)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
