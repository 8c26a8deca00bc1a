"""Why fp32 stays, in words."""

from collections.abc import Sequence

from tierwise.graph.analysis import Graph, name_of
from tierwise.operators.quantize.calibrate import Feeds
from tierwise.operators.quantize.integer_nodes import float_nodes, quantized_nodes
from tierwise.operators.quantize.search import Attempt
from tierwise.runtime.profile import operator_shares

ADVICE = (
    "Deploy fp32 on this tier. 8 bits pay where convolutions and matrix products are most of the "
    "time, and on CPUs with VNNI or a dot product."
)
# How operators that compute products in 8 bits are executed; all else is overhead of theirs.
_PRODUCTS = ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulInteger")
_MOST_NAMED = 3
_SHOWN = 8


def why_slow(graph: Graph, quantized: bytes, instructions: str, feeds: Feeds) -> str:
    """What is known of why the model ``quantized`` from ``graph`` is not faster.

    Args:
        graph: The original.
        quantized: The fastest quantized model of it.
        instructions: What the CPU has for 8-bit integers, or ``""``.
        feeds: An input, with which it is profiled here.
    """
    reasons = [f"the CPU has {instructions}"] if instructions else []
    left = float_nodes(quantized, graph)
    if left:
        reasons.append(f"{len(left)} computing nodes stay in float: {some_of(left)}")
    done = sum(graph.node_macs.get(node, 0) for node in quantized_nodes(quantized, graph))
    share = done / max(1, graph.macs)
    reasons.append(f"{share:.0%} of {graph.macs / 1e6:.3g} million MACs are in 8 bits")
    grouped = sum(
        graph.node_macs[name_of(node)]
        for node in graph.data_nodes
        if node.op_type == "Conv" and node.attributes.get_int("group", 1) != 1
    )
    if grouped:
        reasons.append(f"{grouped / max(1, graph.macs):.0%} of them in grouped convolutions")
    return "; ".join([*reasons, *_where_the_time_goes(quantized, feeds)])


def _where_the_time_goes(quantized: bytes, feeds: Feeds) -> list[str]:
    """The operators besides products that take most of its time."""
    shares = operator_shares(quantized, feeds)
    others = {name: share for name, share in shares.items() if not name.startswith(_PRODUCTS)}
    total = sum(others.values())
    if total < 0.1:  # heuristic: less explains nothing
        return []
    named = ", ".join(f"{name} {others[name]:.0%}" for name in list(others)[:_MOST_NAMED])
    return [f"{total:.0%} of its time are not products: {named}"]


def why_lossy(attempts: Sequence[Attempt], max_loss: float, *, late: bool) -> str:
    """Why every recipe that is faster loses too much; ``late``: the time was over."""
    lossy = [a.loss for a in attempts if a.loss is not None and a.loss > max_loss]
    why = f"every recipe that is faster loses more than {max_loss:g} points"
    if lossy:
        why += f" (at least {min(lossy):.2f})"
    if any(a.recipe.excluded for a in attempts):
        return why + ", and with its most sensitive nodes in float it is no faster"
    if late:
        return why + ", and there was no time to leave sensitive nodes in float"
    return why + ", also with its most sensitive nodes in float"


def some_of(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
