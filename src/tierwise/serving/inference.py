"""One request through one stage: queue, decode, pre-process, run, encode, next hop, answer."""

import queue
import time
from collections.abc import Callable

import numpy as np

from tierwise.errors import TierwiseError
from tierwise.runtime.session import open_session
from tierwise.serving.boundary import decode_boundary, encode_boundary
from tierwise.serving.datatypes import datatype_of
from tierwise.serving.faults import BadRequest
from tierwise.serving.job import Job
from tierwise.serving.messages import InferRequest, InferResponse, WireTensor
from tierwise.serving.repository import IMAGE, VERSION, ServedModel, TensorMetadata
from tierwise.serving.timing import Hop

# How often a request that waits for its turn looks whether its client has left.
_LOOK_UP_S = 0.05
# Shapes and types of a model's inputs that need no second look.
_REMEMBERED = 256


class Slots:
    """How many segments may compute at once on this tier."""

    def __init__(self, count: int) -> None:
        """``count`` at once."""
        # A queue of tokens: a semaphore's own lock and condition are Python.
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(None)
        self._running: dict[int, Job] = {}

    def wait(self, job: Job) -> None:
        """Take a slot, or raise what :meth:`Job.check` raises while waiting."""
        while not self._take():
            job.check()
        self._running[id(job)] = job

    def _take(self) -> bool:
        try:
            self._free.get(timeout=_LOOK_UP_S)
        except queue.Empty:
            return False
        return True

    def release(self, job: Job) -> None:
        """Give it back."""
        del self._running[id(job)]
        self._free.put(None)

    def sweep(self) -> None:
        """Stop what runs for nobody; called about twice a second."""
        for job in list(self._running.values()):
            job.stop_if_vain()


def infer(
    model: ServedModel, decode: Callable[[], InferRequest], job: Job, slots: Slots
) -> tuple[InferRequest, InferResponse]:
    """Run one request.

    Args:
        model: The stage.
        decode: Makes tensors of the request's bytes; its time is part of the account.
        job: The request's clock; its hop is filled in, except for ``server_s``.
        slots: Who may compute.

    Returns:
        The request, and the response without timing; with a next hop, that hop's response.

    Raises:
        Refusal: with the status to answer.
    """
    slots.wait(job)
    try:
        hop = job.hop
        start = time.perf_counter()
        hop.queue_s = start - job.received_at
        request = decode()
        job.request_id = request.request_id
        job.set_timeout(request.parameters)
        # Asking whether the client has left is a system call; right after its request it hasn't.
        if hop.queue_s > _LOOK_UP_S or job.deadline is not None or job.cancelled:
            job.check()
        image, tensors, carried = _sort_inputs(model, request)
        start = hop.lap("decode_s", start)
        if image is not None:
            tensors = {model.segment_inputs[0].name: _preprocess(model, image)}
            start = hop.lap("preprocess_s", start)
        outputs = _run(model, _feeds(model, tensors), job)
        start = time.perf_counter()
        if model.next is None:
            outputs = {**carried, **outputs}
            wire = _finish(model, outputs, request, hop)
            return request, _response(model, request, wire)
        wire = encode_boundary({**carried, **outputs}, model.encodings)
        hop.lap("encode_s", start)
    finally:
        slots.release(job)
    return request, model.next.forward(request, wire, job)


def _sort_inputs(
    model: ServedModel, request: InferRequest
) -> tuple[bytes | None, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The encoded image, the segment's inputs, and what passes through untouched."""
    image: bytes | None = None
    tensors: dict[str, np.ndarray] = {}
    carried: dict[str, np.ndarray] = {}
    for tensor in request.inputs:
        if model.preprocess is not None and tensor.name == IMAGE and tensor.array.dtype == object:
            if tensor.array.size != 1:
                raise BadRequest(
                    f"Input 'image' has shape {list(tensor.array.shape)}; send one image, [1]."
                )
            image = bytes(tensor.array.reshape(-1)[0])
        elif tensor.name in model.segment_names:
            tensors[tensor.name] = decode_boundary(tensor)
        elif tensor.name in model.spec.carried:
            carried[tensor.name] = decode_boundary(tensor)
        else:
            names = ", ".join(meta.name for meta in model.inputs)
            raise BadRequest(
                f"Model {model.spec.name!r} has no input {tensor.name!r:.100}; its inputs: {names}."
            )
    return image, tensors, carried


def _preprocess(model: ServedModel, image: bytes) -> np.ndarray:
    assert model.preprocess is not None
    try:
        return model.preprocess.apply(image)
    except TierwiseError as error:
        raise BadRequest(str(error)) from error


def _feeds(model: ServedModel, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``tensors``, if they are what the segment takes, all of it and nothing else."""
    for meta in model.segment_inputs:
        array = tensors.get(meta.name)
        if array is None:
            raise BadRequest(
                f"Input {meta.name!r} is missing ({meta.datatype} {list(meta.shape)})."
            )
        # What fitted once does so again.
        kind = (meta.name, array.dtype, array.shape)
        if kind not in model.fitting:
            _check(array, meta)
            if len(model.fitting) < _REMEMBERED:
                model.fitting.add(kind)
    return tensors


def _check(array: np.ndarray, meta: TensorMetadata) -> None:
    """Raise where type or shape isn't what the segment takes."""
    got = datatype_of(array.dtype)
    if got != meta.datatype:
        raise BadRequest(f"Input {meta.name!r} is {got}; the model takes {meta.datatype}.")
    fits = len(array.shape) == len(meta.shape) and all(
        want in {-1, have} for have, want in zip(array.shape, meta.shape, strict=True)
    )
    if not fits:
        raise BadRequest(
            f"Input {meta.name!r} has shape {list(array.shape)}; the model takes "
            f"{list(meta.shape)} (-1: any size)."
        )


def _run(model: ServedModel, feeds: dict[str, np.ndarray], job: Job) -> dict[str, np.ndarray]:
    start = time.perf_counter()
    warm = model.warm
    try:
        if warm is None:
            session = open_session(model.file.path, model.options)
            job.hop.session_s = time.perf_counter() - start
            outputs = session.run(feeds, job.stop)
        else:
            opened = warm.session is not None
            session = warm.take()
            if not opened:
                job.hop.session_s = time.perf_counter() - start
            try:
                outputs = session.run(feeds, job.stop)
            finally:
                warm.give_back()
    except TierwiseError as error:
        job.check()
        raise BadRequest(f"Model {model.spec.name!r} did not run: {error}") from error
    job.hop.lap("compute_s", start)
    return outputs


def _finish(
    model: ServedModel, outputs: dict[str, np.ndarray], request: InferRequest, hop: Hop
) -> list[WireTensor]:
    """The last stage's outputs, post-processed, only those that are asked for."""
    start = time.perf_counter()
    try:
        outputs = model.postprocess.apply(outputs)
    except TierwiseError as error:
        raise BadRequest(str(error)) from error
    hop.lap("postprocess_s", start)
    if request.outputs:
        missing = [wanted.name for wanted in request.outputs if wanted.name not in outputs]
        if missing:
            raise BadRequest(
                f"Model {model.spec.name!r} has no output {missing[0]!r:.100}; its outputs: "
                f"{', '.join(outputs)}."
            )
        outputs = {wanted.name: outputs[wanted.name] for wanted in request.outputs}
    return [WireTensor(name, array) for name, array in outputs.items()]


def _response(model: ServedModel, request: InferRequest, wire: list[WireTensor]) -> InferResponse:
    return InferResponse(
        outputs=tuple(wire),
        model_name=model.spec.name,
        model_version=VERSION,
        request_id=request.request_id,
    )
