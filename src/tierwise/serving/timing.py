"""Where a request's time went: what each hop says, and the sum that must be the total."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import orjson

TIMING = "tierwise_timing"


@dataclass
class Hop:
    """One tier's account of one request. All durations by that tier's own clock.

    Attributes:
        tier: The tier's name.
        queue_s: From the last byte of the request to the start of work on it.
        decode_s: Bytes to tensors, with the boundary encoding's inverse.
        preprocess_s: Encoded image to tensor.
        compute_s: The segment.
        encode_s: Tensors to bytes, with the boundary encoding.
        postprocess_s: What is done to the model's outputs.
        next_s: Waiting for the next hop, transfers included.
        server_s: From the last byte of the request until the answer starts to be written;
            ``None``: this server gives no timing.
        received_bytes: Size of the request, headers included.
        sent_bytes: Size of the request to the next hop, headers included; 0 on the last.
        session_s: Opening the session for this request alone (``session: per-request``), or
            again because it was closed when memory was short; part of ``compute_s``.
    """

    tier: str
    queue_s: float = 0.0
    decode_s: float = 0.0
    preprocess_s: float = 0.0
    compute_s: float = 0.0
    encode_s: float = 0.0
    postprocess_s: float = 0.0
    next_s: float = 0.0
    server_s: float | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    session_s: float = 0.0

    def lap(self, part: str, start: float) -> float:
        """Add the time since ``start`` to ``part``; returns the clock's time now."""
        now = time.perf_counter()
        setattr(self, part, getattr(self, part) + now - start)
        return now

    def to_json(self) -> dict[str, Any]:
        """Every number by its name."""
        return dict(vars(self))

    def to_text(self) -> bytes:
        """As it stands in a response's parameters: a JSON object, durations to 0.1 microseconds.

        Numbers of a fixed width: so answers of a kind have the same length, hence the same HTTP
        head, which whoever reads it remembers.
        """
        tier, *numbers = vars(self).values()
        if self.server_s is None:
            return orjson.dumps(self)
        return _TEXT % (orjson.dumps(tier), *numbers)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Hop":
        """Read one; unknown keys of a newer agent are left out.

        Raises:
            ValueError: a value isn't what it must be.
        """
        known: dict[str, Any] = {"tier": str(value.get("tier", "?"))}
        for name, number in value.items():
            if number is None or name not in _NUMBERS:
                continue
            if type(number) is not float and type(number) is not int:
                raise ValueError(f"{name} is {number!r:.50}")
            known[name] = number
        return cls(**known)


_NUMBERS = frozenset(field.name for field in fields(Hop)) - {"tier"}
_FORMATS = {"tier": "%b"} | {name: "%d" for name in _NUMBERS if name.endswith("_bytes")}
_TEXT = "{{{}}}".format(
    ",".join(f'"{field.name}":{_FORMATS.get(field.name, "%.7f")}' for field in fields(Hop))
).encode()


class Timed(Protocol):
    """What :func:`parts` needs of a reply; :class:`tierwise.serving.client.Reply` has it."""

    @property
    def total_s(self) -> float:
        """What the user waited."""

    @property
    def client_s(self) -> float:
        """The part of it that the client itself took to encode and decode."""

    @property
    def hops(self) -> Sequence[Hop]:
        """Every tier that took part, in order."""


def parts(reply: Timed, tiers: Sequence[str]) -> dict[str, float]:
    """Where the time of one request went; the values add up to ``reply.total_s``.

    Keys: ``preprocess@T``, ``compute@T``, ``codec@T`` (decoding and encoding), ``queue@T``,
    ``postprocess@T`` of every tier; ``transfer@A-B`` between two hops, both ways; ``client@A``:
    the client's own encoding and decoding on the first tier, and the way to that tier's agent
    where the first hop runs there; ``other@T``: what tier T's account leaves open;
    ``unknown@T``: all that is known of a server that gives no timing (its compute and the
    transfer to it). Parts of no length are left out.

    Args:
        reply: What :meth:`tierwise.serving.client.AgentClient.infer` returned.
        tiers: Names of the topology's tiers; the first is where the user is.
    """
    start = tiers[0]
    found: dict[str, float] = {}

    def add(key: str, value_s: float) -> None:
        if value_s != 0.0:
            found[key] = found.get(key, 0.0) + value_s

    add(f"client@{start}", reply.client_s)
    waited_s, where = reply.total_s - reply.client_s, start
    for hop in reply.hops:
        if hop.server_s is None:
            add(f"unknown@{hop.tier}", waited_s)
            waited_s = 0.0
            break
        way_s = waited_s - hop.server_s
        add(f"client@{start}" if hop.tier == where else f"transfer@{where}-{hop.tier}", way_s)
        add(f"queue@{hop.tier}", hop.queue_s)
        add(f"codec@{hop.tier}", hop.decode_s + hop.encode_s)
        add(f"preprocess@{hop.tier}", hop.preprocess_s)
        add(f"compute@{hop.tier}", hop.compute_s)
        add(f"postprocess@{hop.tier}", hop.postprocess_s)
        named_s = (
            hop.queue_s + hop.decode_s + hop.encode_s + hop.preprocess_s
            + hop.compute_s + hop.postprocess_s + hop.next_s
        )  # fmt: skip
        add(f"other@{hop.tier}", hop.server_s - named_s)
        waited_s, where = hop.next_s, hop.tier
    # No hop at all, or a last one that waited for somebody who isn't in the list.
    add(f"unknown@{where}", waited_s)
    return found
