"""What an agent accepts: the most of everything that a stranger could send."""

from dataclasses import dataclass


# Compared as objects, so that hashing one costs nothing.
@dataclass(frozen=True, eq=False)
class Limits:
    """Bounds on requests, connections and models.

    The defaults hold every hop of the study (at most 20 MB a tensor) with room, and keep a
    stranger from making the agent take more than it has.

    Attributes:
        max_header_bytes: Request line and headers together.
        max_body_bytes: Body of an inference or management request.
        max_json_bytes: JSON part of a body; tensors as JSON count here.
        max_json_depth: Nesting of JSON arrays and objects.
        max_tensors: Tensors of one request.
        max_dimensions: Dimensions of one tensor (NumPy itself stops at 64).
        max_model_bytes: Size of one model file.
        max_connections: Connections at once; more are answered 503 and closed.
        max_in_flight_bytes: Bodies held in memory at once, over all connections.
        queue_size: Requests that may wait for a worker; more are answered 503.
        header_timeout_s: From the first byte of a request to the end of its headers.
        body_timeout_s: Grace for a body, on top of ``min_body_bytes_per_s``.
        min_body_bytes_per_s: Slower bodies are cut off. 1 Mbit/s is 125,000 of these.
        idle_timeout_s: A kept-alive connection without a request.
        write_timeout_s: Grace for a client to read its answer, on top of the same rate.
    """

    max_header_bytes: int = 32 * 1024
    max_body_bytes: int = 256 * 2**20
    max_json_bytes: int = 64 * 2**20
    max_json_depth: int = 32
    max_tensors: int = 256
    max_dimensions: int = 16
    max_model_bytes: int = 4 * 2**30
    max_connections: int = 4096
    max_in_flight_bytes: int = 2 * 2**30
    queue_size: int = 256
    header_timeout_s: float = 10.0
    body_timeout_s: float = 20.0
    min_body_bytes_per_s: float = 4096.0
    idle_timeout_s: float = 300.0
    write_timeout_s: float = 20.0


DEFAULT_LIMITS = Limits()
