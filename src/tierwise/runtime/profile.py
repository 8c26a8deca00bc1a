"""Where the time of an inference goes: kernel times by node, from ONNX Runtime's own profiler."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx_ir as ir

from tierwise.disk import scratch_folder
from tierwise.graph.analysis import Graph, name_of
from tierwise.runtime.session import DEFAULT, SessionOptions, open_session

_SUFFIX = "_kernel_time"
# What ONNX Runtime appends to the name of a tensor that it keeps in its blocked layout.
_BLOCKED_LAYOUT = "_nchwc"


def kernel_times(
    model: Path | bytes | ir.Model,
    feeds: Mapping[str, np.ndarray],
    options: SessionOptions = DEFAULT,
    *,
    runs: int = 10,
    warm_up: int = 2,
) -> dict[str, float]:
    """Median seconds of every kernel, by node name, in the order of execution.

    With ``optimisation="none"`` or ``"basic"`` the names are those of the model. At higher levels
    ONNX Runtime fuses nodes: a fused kernel keeps the name of one of them or gets a new one, and
    the others are missing. Nodes inside subgraphs are part of the node that holds them. The sum is
    less than the latency of a request to the session: it leaves out what happens between kernels.

    Args:
        model: As for :func:`~tierwise.runtime.session.open_session`.
        feeds: One real input by name.
        options: How the model is executed.
        runs: Timed inferences.
        warm_up: Inferences before them.

    Raises:
        ModelError: the model cannot be executed.
        DataError: ``feeds`` do not fit it.
    """
    durations_s: dict[str, list[float]] = defaultdict(list)
    for event in _events(model, feeds, options, warm_up + runs):
        durations_s[event["name"].removesuffix(_SUFFIX)].append(event["dur"] * 1e-6)
    return {
        name: median(times[warm_up * len(times) // (warm_up + runs) :])
        for name, times in durations_s.items()
    }


def node_times(
    graph: Graph,
    feeds: Mapping[str, np.ndarray],
    options: SessionOptions = DEFAULT,
    *,
    runs: int = 10,
) -> dict[str, float]:
    """Median seconds of ``graph``'s nodes by name, as they are executed with ``options``.

    A kernel that ONNX Runtime fused from several nodes is counted for the node whose tensor it
    gives; the others of it take nothing. Kernels that belong to no node (reordered layouts, fused
    normalisations) are left out: 0% of the time of a residual CNN, 8% of MiniLM's, 11% of a text
    recogniser's with a transformer neck.

    Args and errors: see :func:`kernel_times`.
    """
    producers = {name_of(out): name_of(node) for node in graph.nodes for out in node.outputs}
    names = {name_of(node) for node in graph.nodes}
    times_s: dict[str, float] = defaultdict(float)
    found = kernel_times(graph.model, feeds, options, runs=runs)
    for kernel, seconds in found.items():
        node = kernel if kernel in names else producers.get(kernel.removesuffix(_BLOCKED_LAYOUT))
        if node is not None:
            times_s[node] += seconds
    return dict(times_s)


def operator_shares(
    model: Path | bytes | ir.Model, feeds: Mapping[str, np.ndarray], *, runs: int = 10
) -> dict[str, float]:
    """The share of the kernels' time that each operator takes, most first; they add up to 1.

    Operators as they are executed: ``QLinearConv`` for a convolution between QuantizeLinear and
    DequantizeLinear. Args and errors: see :func:`kernel_times`.
    """
    taken: dict[str, float] = defaultdict(float)
    for event in _events(model, feeds, DEFAULT, runs):
        taken[str(event["args"].get("op_name", "?"))] += event["dur"]
    total = sum(taken.values()) or 1.0
    return {name: taken[name] / total for name in sorted(taken, key=lambda one: -taken[one])}


def _events(
    model: Path | bytes | ir.Model,
    feeds: Mapping[str, np.ndarray],
    options: SessionOptions,
    runs: int,
) -> list[dict[str, Any]]:
    """The profiler's events of the outer kernels of ``runs`` inferences."""
    with scratch_folder() as folder:
        profiled = replace(options, profile_prefix=str(folder / "profile"))
        with open_session(model, profiled) as session:
            for _ in range(runs):
                session.run(feeds)
            return list(_outer_kernels(json.loads(session.end_profiling().read_text("utf-8"))))


def _outer_kernels(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The event of every kernel that doesn't run inside another one's time."""
    kernels = [
        event for event in events if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX)
    ]
    end_us = 0
    # The longer of two that begin in the same microsecond holds the other.
    for event in sorted(kernels, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] >= end_us or event["ts"] + event["dur"] > end_us:
            end_us = max(end_us, event["ts"] + event["dur"])
            yield event
