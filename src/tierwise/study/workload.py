"""What a request of a variant costs, apart from where it is cut: measured here, on one thread."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tierwise.data.source import Dataset, Payload
from tierwise.errors import ModelError
from tierwise.graph.analysis import WIRE_DTYPES, Graph, name_of
from tierwise.operators.encoding import (
    NONE,
    EncodingCost,
    candidate_encodings,
    measure_encoding,
)
from tierwise.runtime.profile import kernel_times
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.study.segments import postprocess_for

# heuristic: what HTTP and the protocol's JSON add to a request or reply. A request of one tensor of
# 602,112 bytes was 602,509 bytes on the wire; pre-processing, tokens and more tensors add to that.
HEADER_BYTES = 600
_TIMED_RUNS, _WARM_RUNS = 9, 3
# heuristic: how well a tensor compresses scatters little between inputs, and this much of it tells.
_CODEC_INPUTS, _CODEC_VALUES, _CODEC_RUNS = 2, 65_536, 8
# heuristic: intermediate tensors of one request beyond this are not held in memory all at once;
# then tensors are taken to cross as they are.
_MOST_BYTES = 2**30
# Names stay those of the model, and integer kernels are fused as they are when deployed.
_PROFILED = SessionOptions(threads=1, optimisation="extended")


@dataclass(frozen=True)
class Workload:
    """One request of a variant.

    Attributes:
        compute_s: One inference on one unlimited core of this machine.
        request_bytes: What the user's device sends where the first segment is not on it.
        reply_bytes: What comes back.
        node_s: Seconds of every node that depends on the input, adding up to ``compute_s``;
            empty: not profiled.
        crossing: By tensor, every way in which it can cross, with what each costs here; a tensor
            that is not in it crosses as it is.
    """

    compute_s: float
    request_bytes: int
    reply_bytes: int
    node_s: Mapping[str, float] = field(default_factory=dict)
    crossing: Mapping[str, tuple[EncodingCost, ...]] = field(default_factory=dict)


def payload_bytes(payload: Payload) -> int:
    """Size of what the user's device has."""
    if isinstance(payload, bytes):
        return len(payload)
    return sum(array.nbytes for array in payload.values())


def time_inference(
    model: Path | ir.Model, feeds: Mapping[str, np.ndarray], *, runs: int, warm_up: int
) -> tuple[float, Mapping[str, np.ndarray]]:
    """Median seconds of an inference on one core of this machine, and the outputs."""
    times_s = []
    with open_session(model, SessionOptions(threads=1)) as session:
        for run in range(warm_up + runs):
            started_s = time.perf_counter()
            outputs = session.run(feeds)
            if run >= warm_up:
                times_s.append(time.perf_counter() - started_s)
    return float(np.median(times_s)), outputs


def measure_workload(
    model: Path | ir.Model,
    graph: Graph,
    evaluation: Dataset,
    calibration: Dataset,
    task: str,
    *,
    encode: bool,
) -> Workload:
    """Time one inference of ``model``, its nodes, and the encoding of whatever may cross.

    Args:
        model: What is to be cut.
        graph: The same, analysed.
        evaluation: Gives the request that is timed and weighed.
        calibration: Gives the tensors that encodings are tried on.
        task: Of the study.
        encode: Whether tensors may be encoded at all.
    """
    feeds = evaluation.feeds(0)
    compute_s, outputs = time_inference(model, feeds, runs=_TIMED_RUNS, warm_up=_WARM_RUNS)
    reply = sum(array.nbytes for array in postprocess_for(task).apply(outputs).values())
    times = kernel_times(model, feeds, _PROFILED, runs=_TIMED_RUNS, warm_up=_WARM_RUNS)
    return Workload(
        compute_s=compute_s,
        request_bytes=payload_bytes(evaluation.payload(0)) + HEADER_BYTES,
        reply_bytes=reply + HEADER_BYTES,
        node_s=node_seconds(graph, times, compute_s),
        crossing=crossing_costs(graph, calibration) if encode else {},
    )


def node_seconds(graph: Graph, kernel_s: Mapping[str, float], total_s: float) -> dict[str, float]:
    """Seconds of every data node, adding up to ``total_s``.

    Kernels that have a node's name take their own time. What fusions renamed is spread over the
    nodes that have none, by their multiply-accumulates (one more for each, so that all get some).
    """
    names = [name_of(node) for node in graph.data_nodes]
    known = {name: kernel_s[name] for name in names if name in kernel_s}
    without = {name: 1 + graph.node_macs[name] for name in names if name not in known}
    left_s = max(sum(kernel_s.values()) - sum(known.values()), 0.0)
    weight = sum(without.values())
    found = {
        name: known[name] if name in known else left_s * without[name] / weight for name in names
    }
    measured_s = sum(found.values())
    if measured_s <= 0:
        return dict.fromkeys(names, total_s / len(names))
    return {name: seconds * total_s / measured_s for name, seconds in found.items()}


def crossing_costs(graph: Graph, calibration: Dataset) -> dict[str, tuple[EncodingCost, ...]]:
    """What every tensor that may cross costs in every encoding, measured on this machine.

    Of a large tensor a part is encoded and the rest extrapolated. Random input gives values that
    say nothing about what an encoding loses, so there only lossless ones are tried.
    """
    made = [value.name for node in graph.data_nodes for value in node.outputs if value.name]
    names = [
        name for name in made if name in graph.tensors and graph.tensors[name].dtype in WIRE_DTYPES
    ]
    if sum(graph.tensors[name].bytes for name in names) > _MOST_BYTES:
        return {}
    samples = _intermediate(graph, names, calibration)
    return {name: _costs(found, lossless=calibration.random) for name, found in samples.items()}


def _intermediate(graph: Graph, names: Sequence[str], data: Dataset) -> dict[str, list[np.ndarray]]:
    """Parts of all tensors ``names`` for some inputs, by running the model with them as outputs."""
    probe = graph.model.clone()
    by_name = {value.name: value for node in probe.graph for value in node.outputs}
    given = {value.name for value in probe.graph.outputs}
    probe.graph.outputs.extend(by_name[name] for name in names if name not in given)
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    try:
        with open_session(probe, SessionOptions(threads=1, optimisation="none")) as session:
            for index in range(min(len(data), _CODEC_INPUTS)):
                results = session.run(data.feeds(index))
                for name in names:
                    found[name].append(results[name])
    except ModelError:
        return {}  # a type that cannot be an output: then nothing is known of any
    return {name: arrays for name, arrays in found.items() if arrays and arrays[0].size}


def _costs(samples: Sequence[np.ndarray], *, lossless: bool) -> tuple[EncodingCost, ...]:
    parts = [_part(sample.reshape(-1)) for sample in samples]
    scale = samples[0].size / parts[0].size
    costs = []
    for encoding in candidate_encodings(parts):
        if lossless and not encoding.lossless:
            continue
        if encoding == NONE:
            costs.append(EncodingCost(encoding, samples[0].nbytes, 0.0, 0.0, 0.0))
            continue
        cost = measure_encoding(encoding, parts)
        costs.append(
            EncodingCost(
                encoding,
                int(scale * cost.wire_bytes),
                scale * cost.encode_s,
                scale * cost.decode_s,
                cost.error,
            )
        )
    return tuple(costs)


def _part(values: np.ndarray) -> np.ndarray:
    """At most so many of ``values``: runs from all over, because channels differ."""
    if len(values) <= _CODEC_VALUES:
        return values
    run = _CODEC_VALUES // _CODEC_RUNS
    starts = np.linspace(0, len(values) - run, _CODEC_RUNS).astype(np.int64)
    return np.concatenate([values[start : start + run] for start in starts])
