"""From a file to a :class:`Graph`: simplify, and give every tensor a concrete shape."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
import onnxruntime as ort

from tierwise.disk import check_space, scratch_folder
from tierwise.errors import DataError, ModelError
from tierwise.graph.analysis import Graph, name_of, numpy_dtype, static_tensors
from tierwise.graph.load import check_operators, load_model, name_nodes
from tierwise.graph.tensors import TensorInfo
from tierwise.progress import SILENT, Progress
from tierwise.runtime.materialise import model_bytes
from tierwise.runtime.session import (
    ORT_ERRORS,
    SessionOptions,
    open_session,
)

# heuristic: sizes tried for a free height, width or length when no real input is given. The first
# is the commonest image size; the others are for models whose strides, windows or lengths differ.
_FREE_SIZES = (224, 32, 640, 512, 256, 128, 64, 16, 8, 1)
# heuristic: tried first where batches of token ids go in.
_TOKENS = 128
_INTEGERS = frozenset({ir.DataType.INT64, ir.DataType.INT32})
# Above this size a model is not serialised to be simplified: protobuf stops at 2 GiB.
_SIMPLIFY_BYTES = 1_800_000_000


def prepare(
    source: Path | str | bytes | ir.Model,
    feeds: Mapping[str, np.ndarray] | None = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    simplify: bool = True,
    progress: Progress = SILENT,
) -> Graph:
    """Load a model, simplify it, and find the concrete shape of every tensor.

    Free sizes (a dynamic batch, height or width) stay free in ``Graph.model``; the shapes in
    ``Graph.tensors`` are those for ``feeds``. Shapes come from inference, and where that cannot
    tell, from running the model once with the unknown tensors as outputs.

    Args:
        source: A path, a file's content, or a model (which is not changed).
        feeds: One real input by name. Without it, a batch of one is assumed, and for other free
            sizes the first that the model runs with; ``Graph.notes`` says which.
        shapes: Where there is no real input: sizes of some inputs, by name.
        simplify: Fold constants and remove what does nothing. ``False`` for a graph that must
            stay as it is, such as a quantized one.
        progress: Told what is under way.

    Raises:
        ModelError: the model cannot be loaded or executed.
        DataError: ``feeds`` or ``shapes`` do not fit the model.
        DiskFull: the temporary folder is full.
    """
    with progress.task("Reading the model", 3) as task:
        model = _load(source)
        task.advance(note="simplifying")
        if simplify:
            model = _simplify(model, source)
        _tidy(model)
        task.advance(note="shapes")
        notes: tuple[str, ...] = ()
        if feeds is None:
            feeds, notes = assume_feeds(model, shapes)
        tensors = concrete_tensors(model, feeds)
        task.advance()
    return Graph(model, tensors, notes)


def _load(source: Path | str | bytes | ir.Model) -> ir.Model:
    if isinstance(source, ir.Model):
        model = source.clone()
        check_operators(model)
        return model
    if isinstance(source, bytes):
        with scratch_folder() as folder:
            path = folder / "model.onnx"
            path.write_bytes(source)
            return load_model(path)
    return load_model(source)


def _tidy(model: ir.Model) -> None:
    """What every later step relies on, in place: no functions, constants as initializers."""
    # Before IR version 4 an initializer had to be an input as well.
    model.ir_version = max(model.ir_version, 4)
    tidy = ir.passes.Sequential(
        passes.InlinePass(),
        passes.RemoveInitializersFromInputsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]  # untyped there
        passes.RemoveUnusedOpsetsPass(),
    )
    tidy(model)
    name_nodes(model)
    passes.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def _simplify(model: ir.Model, source: Path | str | bytes | ir.Model) -> ir.Model:
    """The same model with constants folded, by ONNX Runtime's basic level.

    Basic rewrites give standard operators only, and they are what every session does anyway, so
    they cost no fidelity. Where they would bring in a private operator, or the model is too
    large to be serialised, the model stays as it is.
    """
    weights = sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )
    if weights > _SIMPLIFY_BYTES:
        return model
    before = {(node.domain, node.op_type) for node in model.graph}
    with scratch_folder() as folder:
        path = folder / "simplified.onnx"
        settings = ort.SessionOptions()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        settings.optimized_model_filepath = str(path)
        settings.log_severity_level = 4
        # Of a file with external data, what is written would name that data, which is not there.
        content = source if isinstance(source, bytes) else model_bytes(model)
        try:
            ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        except ORT_ERRORS as exc:
            if path.exists():
                # The model is fine, only writing it failed, and the error does not say why.
                check_space(path, weights)
            raise ModelError(
                f"ONNX Runtime cannot execute the model: {str(exc).strip().splitlines()[0]}",
                hint="Export it again with operators and an opset that ONNX Runtime "
                f"{ort.__version__} has.",
            ) from exc
        simplified = load_model(path)
    private = {
        (node.domain, node.op_type) for node in simplified.graph if node.domain == "com.microsoft"
    }
    return model if private - before else simplified


def assume_feeds(
    model: ir.Model, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """An input that the model runs with, made up, and what was assumed, in words.

    Floats are normal random numbers of a fixed seed, integers and booleans are ones (a token
    that every vocabulary has, a mask that hides nothing).

    Args:
        model: What the input is for.
        shapes: Sizes that are given, by input name; the rest is assumed.

    Raises:
        ModelError: the model runs with none of the sizes tried.
        DataError: ``shapes`` names no input, or sizes that its shape doesn't allow.
    """
    values = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    for value in values:
        if numpy_dtype(value) is None or value.shape is None:
            raise ModelError(
                f"Input '{value.name}' is of type {value.type}, shape {value.shape}: "
                "a tensor of known rank is required.",
                hint="Export the model with typed inputs.",
                tensor=value.name,
            )
    given = _given_sizes(values, shapes or {})
    free = [v for v in values if any(_symbol(v, axis) not in given for axis in _free_axes(v))]
    if not free:
        return {name_of(v): _made_up(v, given) for v in values}, ()
    failure: Exception | None = None
    with open_session(model, SessionOptions(optimisation="none")) as session:
        for sizes in _guesses(values):
            feeds = {name_of(v): _made_up(v, sizes | given) for v in values}
            try:
                session.run(feeds)
            except DataError as exc:
                failure = failure or exc
                continue
            assumed = (f"{v.name}: {'x'.join(map(str, feeds[name_of(v)].shape))}" for v in free)
            return feeds, (f"Free sizes were assumed: {', '.join(assumed)}.",)
    raise ModelError(
        f"The model runs with none of the sizes {_FREE_SIZES} for its free dimensions: {failure}",
        hint="Give a real input: `tierwise inspect MODEL --input NAME=1x3x480x640`.",
    )


def _given_sizes(values: list[ir.Value], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    by_name = {name_of(value): value for value in values}
    given: dict[str, int] = {}
    for name, shape in shapes.items():
        value = by_name.get(name)
        if value is None:
            raise DataError(
                f"The model has no input '{name}'.",
                hint=f"Its inputs are {', '.join(by_name)}.",
                tensor=name,
            )
        own = tuple(value.shape or ())
        fits = len(own) == len(shape) and all(
            not isinstance(size, int) or size == wanted
            for size, wanted in zip(own, shape, strict=True)
        )
        if not fits:
            raise DataError(
                f"Input '{name}' cannot be {'x'.join(map(str, shape))}: the model takes "
                f"{'x'.join('?' if not isinstance(s, int) else str(s) for s in own)}.",
                hint="Only sizes shown as ? can be chosen.",
                tensor=name,
            )
        for axis in _free_axes(value):
            # Exporters reuse one symbol for height and width, so the place decides, and the
            # symbol counts only for inputs of which nothing was said.
            given[_place(value, axis)] = shape[axis]
            given.setdefault(_symbol(value, axis), shape[axis])
    return given


def _guesses(values: list[ir.Value]) -> Iterator[dict[str, int]]:
    """Sizes for the free dimensions, by symbol; likelier ones first.

    What leads an input is the batch: one, wherever the symbol occurs. Then all others have the
    same size, and where the model refuses that, some of them are one (an inner batch, say).
    """
    symbols = {_symbol(v, axis) for v in values for axis in _free_axes(v)}
    batch = {_symbol(v, axis) for v in values for axis in _free_axes(v) if axis == 0}
    channels = {
        _symbol(v, axis)
        for v in values
        for axis in _free_axes(v)
        if axis == 1 and len(v.shape or ()) == 4
    }
    others = sorted(symbols - batch - channels)
    fixed = dict.fromkeys(channels, 3) | dict.fromkeys(batch, 1)
    # heuristic: beyond four free sizes, mixtures of them are too many to try.
    mixed = range(2 ** min(len(others), 4))
    tokens = any(len(v.shape or ()) == 2 and v.dtype in _INTEGERS and _free_axes(v) for v in values)
    sizes = dict.fromkeys((_TOKENS, *_FREE_SIZES) if tokens else _FREE_SIZES)
    for mixture in mixed:
        for size in sizes:
            yield fixed | {
                symbol: 1 if mixture >> index & 1 else size for index, symbol in enumerate(others)
            }


def _free_axes(value: ir.Value) -> list[int]:
    return [axis for axis, size in enumerate(value.shape or ()) if not isinstance(size, int)]


def _symbol(value: ir.Value, axis: int) -> str:
    """The name of a free size; an unnamed one gets a name of its own."""
    assert value.shape is not None
    size = value.shape[axis]
    named = size.value if isinstance(size, ir.SymbolicDim) else None
    return named or _place(value, axis)


def _place(value: ir.Value, axis: int) -> str:
    return f"{value.name}[{axis}]"


def _made_up(value: ir.Value, sizes: Mapping[str, int]) -> np.ndarray:
    shape = [
        size
        if isinstance(size, int)
        else sizes.get(_place(value, axis)) or sizes[_symbol(value, axis)]
        for axis, size in enumerate(value.shape or ())
    ]
    dtype = np.dtype(numpy_dtype(value) or "float32")
    if dtype.kind == "f":
        return np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return np.ones(shape, dtype)


def concrete_tensors(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> dict[str, TensorInfo]:
    """Shape and type of every tensor for this input; by inference, else by running once."""
    fixed = model.clone()
    for value in fixed.graph.inputs:
        feed = feeds.get(name_of(value))
        if feed is not None:
            value.shape = ir.Shape(feed.shape)
    for node in fixed.graph:
        for value in node.outputs:
            value.shape = None
    passes.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(fixed)
    known = static_tensors(fixed)
    unknown = [
        value.name
        for node in fixed.graph
        for value in node.outputs
        if value.name and value.name not in known
    ]
    known |= {
        name: TensorInfo(name, array.shape, str(array.dtype)) for name, array in feeds.items()
    }
    if unknown or any(value.name not in known for value in fixed.graph.outputs):
        known |= _by_running(model, feeds, unknown)
    return known


def _by_running(
    model: ir.Model, feeds: Mapping[str, np.ndarray], unknown: list[str]
) -> dict[str, TensorInfo]:
    probe = model.clone()
    present = {value.name for value in probe.graph.outputs}
    by_name = {value.name: value for node in probe.graph for value in node.outputs}
    for name in unknown:
        if name not in present:
            probe.graph.outputs.append(by_name[name])
    with open_session(probe, SessionOptions(optimisation="none")) as session:
        results = session.run(feeds)
    return {
        name: TensorInfo(name, result.shape, str(result.dtype))
        for name, result in results.items()
        if isinstance(result, np.ndarray) and result.dtype.kind in "fiub"
    }
