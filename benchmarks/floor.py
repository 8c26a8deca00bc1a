"""End to end over emulated links, against the floor: `python benchmarks/floor.py`.

Real agents (`tierwise serve`) on two tiers of a core each, a convolutional network whole on the far
tier, whole on the near one, and cut between them. The floor of a placement is

    compute on each tier, measured there in the same seconds without the links' shape, after pauses
      as long as the links would take
    + bits of request and answer / bandwidth
    + one round trip of each link that is crossed

and what is above it is named by the reply's own breakdown. The pauses, because whoever has waited
for a link computes with caches that others used meanwhile, on any machine; `emulation.py pauses`
shows how much of that there is without agents, links and limits.

Exit code 1 if anything is more than 5% and more than 1 ms off its floor, above or below. For a part
of it: `--rates 200`, `--backend userspace`.
"""

import argparse
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tierwise.serving.client import AgentClient, Reply
from tierwise.serving.stage import NextHop, StageSpec
from tierwise.serving.timing import parts
from tierwise.study.measuring import agent_command
from tierwise.tiers import emulated
from tierwise.tiers.running import RunningTopology
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology

MBIT_PER_S = (1, 10, 50, 200)
ROUND_TRIPS_S = (0.0, 0.01)
ABOVE_SHARE, ABOVE_S = 0.05, 0.001
NEAR, FAR = "mobile", "edge"
LINK = f"{NEAR}-{FAR}"
PLACEMENTS = {"near": (NEAR,), "far": (FAR,), "near+far": (NEAR, FAR)}
# 49 KB in and 49 KB across the cut: 0.4 s at 1 Mbit/s, 2 ms at 200.
SHAPE, CUT_CHANNELS, WIDE, BLOCKS = (1, 3, 64, 64), 12, 64, 8
# The links are looked at for about this long each; more requests where they are short.
SECONDS, LEAST, MOST, BLOCKS_OF = 4.0, 8, 100, 4


def save_segments(folder: Path, blocks: int = BLOCKS) -> dict[str, Path]:
    """The network whole, its head and its tail, with random weights."""
    rng = np.random.default_rng(0)
    weights, head, tail = [], [], []

    def convolve(nodes, source, target, channels, stride=1):
        shape = (channels[1], channels[0], 3, 3)
        scale = (2 / (9 * channels[0])) ** 0.5
        weight = (rng.standard_normal(shape) * scale).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"{target}.w"))
        inputs, pads = [source, f"{target}.w"], [1, 1, 1, 1]
        nodes.append(
            helper.make_node("Conv", inputs, [f"{target}.c"], pads=pads, strides=[stride] * 2)
        )
        nodes.append(helper.make_node("Relu", [f"{target}.c"], [target]))

    convolve(head, "image", "h0", (3, WIDE))
    convolve(head, "h0", "cut", (WIDE, CUT_CHANNELS), stride=2)
    convolve(tail, "cut", "t0", (CUT_CHANNELS, WIDE))
    for block in range(blocks):
        convolve(tail, f"t{block}", f"t{block + 1}", (WIDE, WIDE))
    tail.append(helper.make_node("GlobalAveragePool", [f"t{blocks}"], ["scores"]))
    shapes = {
        "image": list(SHAPE),
        "cut": [1, CUT_CHANNELS, SHAPE[2] // 2, SHAPE[3] // 2],
        "scores": [1, WIDE, 1, 1],
    }
    found = {}
    for name, nodes, source, target in (
        ("near+far.0", head, "image", "cut"),
        ("near+far.1", tail, "cut", "scores"),
        ("whole", head + tail, "image", "scores"),
    ):
        used = {i for node in nodes for i in node.input}
        ends = [
            helper.make_tensor_value_info(t, TensorProto.FLOAT, shapes[t]) for t in (source, target)
        ]
        kept = [weight for weight in weights if weight.name in used]
        graph = helper.make_graph(nodes, name, ends[:1], ends[1:], kept)
        found[name] = folder / f"{name}.onnx"
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), found[name])
    return found


@contextmanager
def deployed(backend: str) -> Iterator[tuple[RunningTopology, dict[str, AgentClient]]]:
    """Two tiers whose agents hold every placement; clients by placement."""
    token = secrets.token_urlsafe(16)
    tiers = tuple(Tier(name, cpus=1.0, token=token) for name in (NEAR, FAR))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        token_file = folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        command = partial(agent_command, token_file=token_file, folder=folder)
        with emulated.start(Topology(tiers), command, backend=backend) as running:
            clients = {}
            segments = save_segments(folder)
            for placement, on in PLACEMENTS.items():
                for position in range(len(on) - 1, -1, -1):
                    file = segments["whole" if len(on) == 1 else f"{placement}.{position}"]
                    client = AgentClient(
                        running.url(NEAR, on[position]), partial(running.dial, NEAR), token
                    )
                    following = on[position + 1 :]
                    client.load(
                        StageSpec(
                            name=placement.replace("+", "-"),
                            artifact=client.put_artifact(file),
                            next=NextHop(
                                url=running.url(on[position], following[0]),
                                model=placement.replace("+", "-"),
                                tier=following[0],
                                token=token,
                            )
                            if following
                            else None,
                        )
                    )
                    clients[placement] = client
            yield running, clients


@dataclass
class Timed:
    """Requests of one placement under one condition."""

    replies: list[Reply]

    def median(self, of) -> float:
        return statistics.median(of(reply) for reply in self.replies)

    @property
    def total_s(self) -> float:
        return self.median(lambda reply: reply.total_s)

    def compute_s(self) -> float:
        return self.median(lambda reply: sum(hop.compute_s for hop in reply.hops))

    def parts_s(self) -> dict[str, float]:
        every = [parts(reply, (NEAR, FAR)) for reply in self.replies]
        return {key: statistics.median(one.get(key, 0.0) for one in every) for key in every[0]}

    def crossing_bits(self, on: Sequence[str]) -> float:
        """Bits of request and answer over the link; an answer crosses back as it came."""
        if on == (NEAR,):
            return 0.0
        received = self.median(lambda reply: reply.received_bytes)
        if on == (FAR,):
            return 8 * (self.median(lambda reply: reply.sent_bytes) + received)
        return 8 * (self.median(lambda reply: reply.hops[0].sent_bytes) + received)

    def link_s(self, placement: str, shape: LinkShape) -> float:
        """What the link must take of each request."""
        on = PLACEMENTS[placement]
        if FAR not in on:
            return 0.0
        return self.crossing_bits(on) / shape.bandwidth_bit_per_s + shape.rtt_s


def send(client: AgentClient, placement: str, feeds, count: int) -> list[Reply]:
    return [client.infer(placement.replace("+", "-"), feeds) for _ in range(count)]


def measure(running, clients, condition) -> dict[str, tuple[Timed, Timed]]:
    """Each placement without and with the links' shape, in blocks that alternate.

    A machine's speed may change in spells of seconds: floor and latency of the same seconds are
    compared.
    """
    feeds = {"image": np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)}
    timed = {placement: (Timed([]), Timed([])) for placement in clients}
    running.shape(condition)
    opened = {placement: send(clients[placement], placement, feeds, 5)[1:] for placement in clients}
    link_s = {p: Timed(replies).link_s(p, condition.shapes[LINK]) for p, replies in opened.items()}
    slowest_s = max(Timed(replies).total_s for replies in opened.values())
    count = int(min(MOST, max(LEAST, SECONDS / slowest_s / len(clients))) / BLOCKS_OF) + 1
    for _ in range(BLOCKS_OF):
        for shaped in (False, True):
            running.shape(condition if shaped else None)
            for placement, client in clients.items():
                send(client, placement, feeds, 1)
            for _ in range(count):
                for placement, client in clients.items():
                    if not shaped:
                        time.sleep(link_s[placement])
                    timed[placement][shaped].replies += send(client, placement, feeds, 1)
    return timed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="*", default=MBIT_PER_S, help="Mbit/s")
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    missed = 0
    with deployed(options.backend) as (running, clients):
        print("; ".join(f"{name}: {what}" for name, what in running.record.items()))
        columns = ("compute", "bits", "rtt", "floor", "measured", "above")
        header = "".join(f"{column:>10}" for column in columns)
        print(f"{'Mbit/s':>8}{'rtt ms':>8}  {'placement':<10}{header}")
        for rate in options.rates:
            for rtt_s in ROUND_TRIPS_S:
                shape = NetworkCondition({LINK: LinkShape(rate * 1e6, rtt_s)})
                for placement, (free, shaped) in measure(running, clients, shape).items():
                    on = PLACEMENTS[placement]
                    compute_s = free.compute_s()
                    trips_s = rtt_s if FAR in on else 0.0
                    bits_s = shaped.link_s(placement, shape.shapes[LINK]) - trips_s
                    floor_s = compute_s + bits_s + trips_s
                    above_s = shaped.total_s - floor_s
                    missed += abs(above_s) > max(ABOVE_S, ABOVE_SHARE * floor_s)
                    cells = (compute_s, bits_s, trips_s, floor_s, shaped.total_s, above_s)
                    print(
                        f"{rate:8g}{rtt_s * 1e3:8g}  {placement:<10}"
                        + "".join(f"{cell * 1e3:10.2f}" for cell in cells)
                        + f"  {named(shaped, compute_s, bits_s + trips_s)}",
                        flush=True,
                    )
    print(f"{missed} placements more than 5% and 1 ms off their floor (ms in the table)")
    return 1 if missed else 0


def named(timed: Timed, compute_s: float, link_s: float) -> str:
    """The largest parts of what is above the floor."""
    found = timed.parts_s()
    computed_s = sum(value for key, value in found.items() if key.startswith("compute@"))
    above = {key: value for key, value in found.items() if not key.startswith("compute@")}
    above["slower compute"] = computed_s - compute_s
    for key in above:
        if key.startswith("transfer@"):
            above[key] -= link_s
    largest = sorted(above.items(), key=lambda item: -abs(item[1]))[:3]
    return ", ".join(f"{key} {value * 1e3:+.2f}" for key, value in largest)


if __name__ == "__main__":
    sys.exit(main())
