"""Inference sessions: the only place where ONNX Runtime executes a model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from tierwise.errors import DataError, EnvironmentFault, ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

Optimisation = Literal["all", "extended", "basic", "none"]
_LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
# ONNX Runtime has no common base for its own errors.
ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
# Shapes of a session's inputs that need no second look.
_REMEMBERED = 256
# How long a thread of a session's pool looks out for more work before it sleeps: longer than the
# gaps between a model's operators, and too short to take a core from whoever computes next.
# ONNX Runtime's own default goes on for milliseconds (docs/design.md, Decisions). heuristic.
SPIN_US = 500
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
} | {f"tensor({name})": name for name in (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")}  # fmt: skip


@dataclass(frozen=True)
class SessionOptions:
    """How a model is executed.

    Attributes:
        threads: Intra-op threads; between operators there is always one.
        providers: ONNX Runtime's execution providers, the preferred one first.
        optimisation: Graph optimisation level. ``"none"`` executes the graph as it is written.
        profile_prefix: Where to write ONNX Runtime's profile, or ``None`` for no profile.
    """

    threads: int = 1
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    optimisation: Optimisation = "all"
    profile_prefix: str | None = None


DEFAULT = SessionOptions()


@dataclass(frozen=True)
class Port:
    """An input or output of a session.

    Attributes:
        name: The tensor's name.
        shape: Sizes; ``None`` where the size is free.
        dtype: NumPy's name of the element type (``"object"`` for strings).
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Stop:
    """Ends a run from another thread, at its next operator. Serves one run."""

    def __init__(self) -> None:
        """Not stopped."""
        self.options = ort.RunOptions()

    def set(self) -> None:
        """End the run; one that hasn't begun fails as it begins."""
        self.options.terminate = True


class Session:
    """A model, ready to run. Thread-safe: ``run`` may be called from several threads at once."""

    def __init__(
        self, session: ort.InferenceSession, folder: TemporaryDirectory[str] | None = None
    ) -> None:
        """Wrap ``session``; use :func:`open_session`."""
        self._session = session
        self._folder = folder
        self.inputs = tuple(_port(argument) for argument in session.get_inputs())
        self.outputs = tuple(_port(argument) for argument in session.get_outputs())
        self._names = [port.name for port in self.outputs]
        self._expected = {port.name: (port, _dtype(port)) for port in self.inputs}
        # Name, type and shape of inputs that were found to fit.
        self._fitting: set[tuple[str, np.dtype[np.generic], tuple[int, ...]]] = set()

    def run(
        self, feeds: Mapping[str, np.ndarray], stop: Stop | None = None
    ) -> dict[str, np.ndarray]:
        """All outputs by name, for inputs by name; ``stop`` ends it early.

        Raises:
            DataError: an input is missing, unknown, or of the wrong type, rank or size
                (``.tensor``), the model fails on these inputs, or the run was stopped.
        """
        options = None if stop is None else stop.options
        self._check(feeds)
        try:
            results = self._session.run(self._names, dict(feeds), options)
        except ORT_ERRORS as exc:
            raise DataError(f"The model fails on these inputs: {_first_line(exc)}") from exc
        return dict(zip(self._names, results, strict=True))

    def end_profiling(self) -> Path:
        """Stop profiling and return the file with ONNX Runtime's events."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Free what the session holds. Running afterwards is an error."""
        del self._session
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def _check(self, feeds: Mapping[str, np.ndarray]) -> None:
        expected = self._expected
        if feeds.keys() != expected.keys():
            wrong = sorted(feeds.keys() ^ expected.keys())
            raise DataError(
                f"The model takes the inputs {sorted(expected)}, but was given {sorted(feeds)}.",
                tensor=wrong[0],
            )
        for name, array in feeds.items():
            kind = (name, array.dtype, array.shape)
            if kind in self._fitting:
                continue
            port, dtype = expected[name]
            fits = len(array.shape) == len(port.shape) and all(
                wanted is None or wanted == size
                for wanted, size in zip(port.shape, array.shape, strict=True)
            )
            if not fits or dtype not in {None, array.dtype}:
                wanted = "x".join("?" if size is None else str(size) for size in port.shape)
                raise DataError(
                    f"Input '{name}' must be {port.dtype} of shape {wanted or 'scalar'}, but is "
                    f"{array.dtype} of shape {'x'.join(map(str, array.shape)) or 'scalar'}.",
                    hint="Change the pre-processing (`preprocess:` in the study file).",
                    tensor=name,
                )
            if len(self._fitting) < _REMEMBERED:
                self._fitting.add(kind)


def require_providers(providers: Iterable[str]) -> None:
    """Raise :class:`EnvironmentFault` for an execution provider that this machine doesn't have."""
    missing = set(providers) - set(ort.get_available_providers())
    if missing:
        raise EnvironmentFault(
            f"ONNX Runtime on this machine has no {min(missing)}.",
            hint=f"Available: {', '.join(ort.get_available_providers())}.",
        )


def open_session(model: "Path | bytes | ir.Model", options: SessionOptions = DEFAULT) -> Session:
    """A session for a file, for serialised bytes, or for a model in memory.

    Raises:
        ModelError: ONNX Runtime cannot execute the model.
        EnvironmentFault: an execution provider that this machine doesn't have.
    """
    source: Path | bytes
    folder: TemporaryDirectory[str] | None = None
    if isinstance(model, Path | bytes):
        source = model
    else:
        # Imported here because the graph editor takes 10 MiB and 0.1 s to import, which an
        # agent on a small tier, that only ever opens files, does not have.
        from tierwise.runtime.materialise import materialise  # noqa: PLC0415

        source, folder = materialise(model)
    require_providers(options.providers)
    try:
        session = ort.InferenceSession(
            str(source) if isinstance(source, Path) else source,
            sess_options=_options(options),
            providers=list(options.providers),
        )
    except ORT_ERRORS as exc:
        raise ModelError(
            f"ONNX Runtime cannot execute the model: {_first_line(exc)}",
            hint="Export it again with operators and an opset that ONNX Runtime "
            f"{ort.__version__} has.",
        ) from exc
    return Session(session, folder)


def _options(options: SessionOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    settings.graph_optimization_level = _LEVELS[options.optimisation]
    settings.log_severity_level = 4  # its errors come as exceptions; the log repeats them
    if options.profile_prefix is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = options.profile_prefix
    return settings


def _port(argument: ort.NodeArg) -> Port:
    if argument.type not in _DTYPES:
        raise ModelError(
            f"'{argument.name}' is of type {argument.type}; only tensors of NumPy's types can be "
            "inputs and outputs.",
            hint="Export without sequences or maps (for scikit-learn: options={'zipmap': False}).",
            tensor=argument.name,
        )
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return Port(argument.name, shape, _DTYPES[argument.type])


def _dtype(port: Port) -> np.dtype[np.generic] | None:
    """What an input must be; text is whatever ONNX Runtime takes for it."""
    return None if port.dtype == "object" else np.dtype(port.dtype)


def _first_line(exc: Exception) -> str:
    return str(exc).strip().splitlines()[0]
