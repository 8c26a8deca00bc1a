"""Every quantization recipe on real models: latency against fp32, measured side by side, and loss.

    python benchmarks/quantize_recipes.py [digits] [scenes] [FOREIGN] [MODEL.onnx CALIBRATION.npz]

Prints a Markdown table a model, then what `tierwise quantize` chooses for it and why. FOREIGN is
the name of a model of tests/foreign.py, which is fetched from the package index; there is no data
for it, so its inputs are random numbers, and what it loses means little. The loss is on inputs
that no step has seen: at most 200 of those that are left when 192 are taken to calibrate with (64
of them fit ranges, the others judge). Recipes of NNCF are compared where it is installed. Ratios
travel between machines of one instruction set, milliseconds don't.
"""

import importlib.util
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.foreign import FOREIGN

from tierwise.data.source import Dataset, open_dataset
from tierwise.data.spec import DataSpec
from tierwise.data.split import split_indices
from tierwise.data.tensors import TensorSamples
from tierwise.graph.analysis import Graph
from tierwise.operators.held_out import hold_out
from tierwise.operators.quantize import (
    NNCF_RECIPES,
    RECIPES,
    Calibration,
    LocalMeter,
    Recipe,
    quantize,
)
from tierwise.operators.quantize.build import Builder, CannotQuantize
from tierwise.operators.quantize.integer_nodes import float_nodes
from tierwise.quality.evaluate import evaluate, refer
from tierwise.quality.task import Task
from tierwise.runtime.instructions import cpu_instructions
from tierwise.runtime.prepare import prepare
from tierwise.runtime.session import open_session
from tierwise.study.parse import read_study_file
from tierwise.zoo.subjects import materialise

OTHERS = (Recipe().calibrated(Calibration.PERCENTILE), Recipe().calibrated(Calibration.ENTROPY))
NNCF = (*NNCF_RECIPES, NNCF_RECIPES[0].calibrated(Calibration.PERCENTILE))
CALIBRATION, MOST_EVALUATED, RANDOM_INPUTS = 192, 200, 48


def compare(title: str, graph: Graph, data: Dataset, task: Task) -> None:
    calibrating = min(CALIBRATION, len(data) // 2)
    split = split_indices(
        len(data), calibrating, min(MOST_EVALUATED, len(data) - calibrating), seed=0,
        labels=data.labels,
    )  # fmt: skip
    calibration, evaluation = data.subset(split.calibration), data.subset(split.evaluation)
    fit, _ = hold_out(calibration, seed=0)
    feeds = [fit.feeds(index) for index in range(len(fit))]
    builder, meter = Builder(graph, feeds), LocalMeter(feeds[:8])
    reference = refer(builder.model, evaluation, task)
    figure = reference.figure
    print(f"\n### {title}: fp32 {figure.metric} {figure.value:.2f} on {figure.n} inputs\n")
    print("| recipe | latency / fp32 | loss (points) | built in | computing nodes in float |")
    print("|---|---:|---:|---:|---:|")
    for recipe in (*RECIPES, *OTHERS, *(NNCF if importlib.util.find_spec("nncf") else ())):
        begun = time.perf_counter()
        try:
            content = builder.build(recipe)
        except CannotQuantize as error:
            print(f"| {recipe.name} | - | - | - | {error.message} |")
            continue
        built_s = time.perf_counter() - begun
        ratio = meter.ratio(content, builder.model)
        loss = evaluate(content, evaluation, task, reference).loss
        print(
            f"| {recipe.name} | {ratio:.2f} | {loss:.2f} | {built_s:.1f} s "
            f"| {len(float_nodes(content, graph))} |",
            flush=True,
        )
    choose(graph, calibration, evaluation, task)


def choose(graph: Graph, calibration: Dataset, evaluation: Dataset, task: Task) -> None:
    """What the operator makes of it."""
    begun = time.perf_counter()
    variant = quantize(graph, calibration, task=task)
    took_s = time.perf_counter() - begun
    print(f"\nChosen in {took_s:.0f} s: {'; '.join(variant.notes)}.")
    if variant.recipe is not None:
        reference = refer(graph.model, evaluation, task)
        loss = evaluate(variant.graph.model, evaluation, task, reference).loss
        speed = 1 / variant.ratios[""]
        print(
            f"{speed:.2f} x as fast as fp32; loses {loss:.2f} points of {variant.metric} on "
            f"{len(evaluation)} unseen inputs."
        )
    for caveat in variant.caveats:
        print(f"Caveat: {caveat.evidence} {caveat.advice}", flush=True)


def random_inputs(feeds: dict[str, np.ndarray]) -> Dataset:
    """Inputs like ``feeds``: floating-point ones drawn anew, the others as they are."""
    rng = np.random.default_rng(0)
    arrays = {
        name: np.stack(
            [
                rng.random(value.shape, np.float32).astype(value.dtype)
                if value.dtype.kind == "f"
                else value
                for _ in range(RANDOM_INPUTS)
            ]
        )
        for name, value in feeds.items()
    }
    samples = TensorSamples(
        arrays=arrays,
        dtypes={name: str(value.dtype) for name, value in feeds.items()},
        unbatched=frozenset(feeds),
        ids=tuple(map(str, range(RANDOM_INPUTS))),
    )
    return Dataset(samples, description="random numbers")


def main(arguments: list[str]) -> None:
    print(f"CPU: {cpu_instructions()}; one thread")
    given = [Path(one) for one in arguments if one.endswith((".onnx", ".npz"))]
    names = [one for one in arguments if Path(one) not in given]
    foreign = {model.name: model for model in FOREIGN}
    with TemporaryDirectory() as folder:
        for name in names or ([] if given else ["digits", "scenes"]):
            if name in foreign:
                graph, feeds = foreign[name].prepared()
                compare(name, graph, random_inputs(feeds), "any")
                continue
            study_path = materialise(name, Path(folder) / name)
            study = read_study_file(study_path)
            model = study_path.parent / study.model
            with open_session(model) as session:
                data = open_dataset(study.data, session.inputs, study_path.parent)
            compare(name, prepare(model, data.feeds(0)), data, study.task)
    for model, npz in zip(given[::2], given[1::2], strict=True):
        with open_session(model) as session:
            data = open_dataset(DataSpec(npz=npz.name), session.inputs, npz.parent)
        task: Task = "any" if data.labels is None else "classification"
        compare(model.stem, prepare(model, data.feeds(0)), data, task)


if __name__ == "__main__":
    main(sys.argv[1:])
