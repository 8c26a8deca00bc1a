"""The models that an agent serves: loaded, kept warm, unloaded."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from tierwise.data.postprocess import Postprocess
from tierwise.data.preprocess import Preprocess
from tierwise.errors import TierwiseError
from tierwise.operators.encoding import Encoding
from tierwise.runtime.session import DEFAULT, Session, SessionOptions
from tierwise.serving.admission import check_model_file
from tierwise.serving.artifact_room import Held
from tierwise.serving.artifacts import ArtifactCache, sha256_of
from tierwise.serving.boundary import parse_encodings
from tierwise.serving.datatypes import BYTES, datatype_of
from tierwise.serving.faults import BadRequest, NotFound
from tierwise.serving.next_hop import NextServer
from tierwise.serving.stage import NextHop, StageSpec, check_name
from tierwise.serving.statistics import ModelStatistics
from tierwise.serving.tls import hop_tls
from tierwise.serving.warm_sessions import WarmSession, WarmSessions
from tierwise.tiers.topology import SYSTEM_TLS, TlsFiles

VERSION = "1"
IMAGE = "image"


@dataclass(frozen=True)
class TensorMetadata:
    """Name, protocol datatype and shape (-1: free) of an input or output."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As model metadata has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass
class ServedModel:
    """A stage that is ready for requests.

    Attributes:
        spec: What was asked for.
        file: Its ONNX file, held as long as somebody has this.
        options: How its session is opened.
        warm: The warm session; ``None`` with ``session: per-request``.
        segment_inputs: What the segment itself takes.
        segment_names: Their names.
        fitting: Name, type and shape of inputs that were found to fit.
        inputs: What a request carries: the encoded image where this stage pre-processes.
        outputs: What the segment gives.
        encodings: How boundary tensors leave, by name.
        next: Connections to the next hop.
    """

    spec: StageSpec
    file: Held
    options: SessionOptions
    warm: WarmSession | None
    segment_inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    preprocess: Preprocess | None
    postprocess: Postprocess
    encodings: Mapping[str, Encoding]
    next: NextServer | None
    statistics: ModelStatistics = field(default_factory=ModelStatistics)
    segment_names: frozenset[str] = field(init=False)
    fitting: set[tuple[str, np.dtype[Any], tuple[int, ...]]] = field(
        init=False, default_factory=set
    )

    def __post_init__(self) -> None:
        self.segment_names = frozenset(meta.name for meta in self.segment_inputs)

    @property
    def inputs(self) -> tuple[TensorMetadata, ...]:
        """What a request carries."""
        if self.preprocess is None:
            return self.segment_inputs
        return (TensorMetadata(IMAGE, BYTES, (1,)),)

    def metadata(self) -> dict[str, Any]:
        """The protocol's model metadata."""
        return {
            "name": self.spec.name,
            "versions": [VERSION],
            "platform": "onnxruntime_onnx",
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
        }

    def config(self) -> dict[str, Any]:
        """Triton's model configuration: the fields that its clients read."""

        def tensor(meta: TensorMetadata) -> dict[str, Any]:
            kind = "TYPE_STRING" if meta.datatype == BYTES else f"TYPE_{meta.datatype}"
            return {"name": meta.name, "data_type": kind, "dims": list(meta.shape)}

        return {
            "name": self.spec.name,
            "platform": "onnxruntime_onnx",
            "backend": "onnxruntime",
            "version_policy": {"latest": {"num_versions": 1}},
            # 0: the first dimension is part of the shape, nothing is batched behind one's back.
            "max_batch_size": 0,
            "input": [tensor(meta) for meta in self.inputs],
            "output": [tensor(meta) for meta in self.outputs],
            "parameters": {
                "artifact": {"string_value": self.spec.artifact},
                "threads": {"string_value": str(self.spec.threads)},
            },
        }


class Repository:
    """Models by name. Lookups are safe from any thread; loading is one at a time."""

    def __init__(
        self,
        cache: ArtifactCache,
        *,
        threads: int,
        allow_custom_operators: bool = False,
        tls: TlsFiles = SYSTEM_TLS,
        memory_bytes: int | None = None,
    ) -> None:
        """Load from ``cache``.

        Args:
            cache: Where artefacts are.
            threads: The most that a session may use.
            allow_custom_operators: Leave it to ONNX Runtime to refuse unknown operators.
            tls: For connections to next hops, as far as a stage doesn't say it.
            memory_bytes: Idle sessions are closed to stay within it; ``None``: never.
        """
        self.sessions = WarmSessions(memory_bytes)
        self.cache = cache
        self._threads = threads
        self._allow_custom = allow_custom_operators
        self._tls = tls
        self._models: dict[str, ServedModel] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> ServedModel:
        """The model called ``name``; raises :class:`NotFound` naming what there is."""
        try:
            return self._models[name]
        except KeyError:
            names = ", ".join(sorted(self._models)) or "none is loaded"
            raise NotFound(f"There is no model {name!r:.200}; there are: {names:.500}.") from None

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """All of them, by name."""
        return dict(self._models)

    def load(self, spec: StageSpec) -> ServedModel:
        """Serve a stage whose artefact is in the cache; replaces one of the same name.

        Raises:
            NotFound: the artefact isn't in the cache.
            BadRequest: its model, or a section of the stage, cannot be used.
        """
        return self._serve(spec, self.cache.hold(spec.artifact))

    def load_file(
        self, name: str, path: Path, providers: tuple[str, ...] = DEFAULT.providers
    ) -> ServedModel:
        """Serve a whole model from a file of this machine.

        Raises:
            Refusal: it cannot be used.
        """
        try:
            check_name(name)
        except ValueError as error:
            raise BadRequest(f"{error}.") from error
        artifact = sha256_of(path)
        spec = StageSpec(name=name, artifact=artifact, threads=self._threads, providers=providers)
        return self._serve(spec, Held(path))

    def unload(self, name: str) -> None:
        """Forget a model; requests that run on it finish."""
        with self._lock:
            model = self._models.pop(name, None)
        if model is None:
            raise NotFound(f"There is no model {name!r:.200}.")
        self._release(model)

    def close(self) -> None:
        """Forget all of them."""
        for name in self.models:
            self.unload(name)

    def _serve(self, spec: StageSpec, file: Held) -> ServedModel:
        # Before anything is opened: a stage that cannot be used costs nothing.
        _preprocess(spec)
        parse_encodings(spec.encodings)
        _check_next(spec)
        options = SessionOptions(
            threads=min(spec.threads, self._threads),
            providers=spec.providers,
            optimisation=spec.optimisation,
        )
        check_model_file(
            file.path, max_bytes=self.cache.max_bytes, allow_custom_operators=self._allow_custom
        )
        try:
            warm = self.sessions.open(file.path, options)
            session = warm.take()
        except TierwiseError as error:
            raise BadRequest(f"Model {spec.name!r} cannot be loaded: {error}") from error
        try:
            model = self._describe(spec, file, warm, session)
        except BaseException:
            self.sessions.forget(warm)
            raise
        finally:
            warm.give_back()
        if model.warm is None:
            self.sessions.forget(warm)
        with self._lock:
            replaced = self._models.get(spec.name)
            self._models[spec.name] = model
        if replaced is not None:
            self._release(replaced)
        return model

    def _describe(
        self, spec: StageSpec, file: Held, warm: WarmSession, session: Session
    ) -> ServedModel:
        segment_inputs = tuple(_metadata(value) for value in session.inputs)
        preprocess = _preprocess(spec)
        if preprocess is not None and len(segment_inputs) != 1:
            raise BadRequest(
                f"Stage {spec.name!r} pre-processes an image, but its segment has "
                f"{len(segment_inputs)} inputs; it must have one."
            )
        return ServedModel(
            spec=spec,
            file=file,
            options=warm.options,
            warm=warm if spec.session == "warm" else None,
            segment_inputs=segment_inputs,
            outputs=tuple(_metadata(value) for value in session.outputs),
            preprocess=preprocess,
            postprocess=Postprocess(spec.postprocess),
            encodings=parse_encodings(spec.encodings),
            next=None if spec.next is None else self._connect(spec.next),
            statistics=warm.statistics,
        )

    def _release(self, model: ServedModel) -> None:
        self.cache.room.used(model.file.path)
        if model.warm is not None:
            self.sessions.forget(model.warm)
        if model.next is not None:
            model.next.close()

    def _connect(self, hop: NextHop) -> NextServer:
        try:
            return NextServer(hop, hop_tls(hop, self._tls))
        except TierwiseError as error:
            raise BadRequest(f"The stage's next hop: {error}") from error


def _check_next(spec: StageSpec) -> None:
    """Another server knows the protocol's tensors, not Tierwise's encodings of them."""
    encoded = [name for name, text in spec.encodings.items() if text != "none"]
    if spec.next is not None and not spec.next.tierwise and encoded:
        raise BadRequest(
            f"Tensor {encoded[0]!r:.100} is to leave as {spec.encodings[encoded[0]]!r:.50}, but "
            "the next hop is no Tierwise agent and cannot decode it: leave out its encoding."
        )


def _preprocess(spec: StageSpec) -> Preprocess | None:
    if spec.preprocess is None:
        return None
    try:
        return Preprocess.model_validate(spec.preprocess)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"The stage's preprocess: {where}: {first['msg']}.") from error


def _metadata(value: Any) -> TensorMetadata:
    try:
        datatype = datatype_of(np.dtype(value.dtype))
    except (KeyError, TypeError) as error:
        raise BadRequest(
            f"Tensor {value.name!r} has element type {value.dtype}, which the protocol has not."
        ) from error
    shape = tuple(-1 if size is None else int(size) for size in value.shape)
    return TensorMetadata(value.name, datatype, shape)
