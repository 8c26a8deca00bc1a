"""Every quantization recipe on real models: latency against fp32, measured side by side, and loss.

    python benchmarks/quantize_recipes.py [digits] [scenes] [MODEL.onnx CALIBRATION.npz]

Prints a Markdown table a model. The loss is on images that no step has seen: half of the shipped
ones; ranges come from 64 of the other half. Ratios travel between machines of one instruction
set, milliseconds don't.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tierwise.data.source import Dataset, open_dataset
from tierwise.data.spec import DataSpec
from tierwise.data.split import split_indices
from tierwise.operators.quantize import (
    RECIPES,
    Calibration,
    LocalMeter,
    Recipe,
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
MOST_EVALUATED = 200


def compare(title: str, model: Path, data: Dataset, task: Task) -> None:
    split = split_indices(len(data), 64, min(MOST_EVALUATED, len(data) - 64), seed=0)
    calibration, evaluation = data.subset(split.calibration), data.subset(split.evaluation)
    feeds = [calibration.feeds(index) for index in range(len(calibration))]
    graph = prepare(model, feeds[0])
    builder, meter = Builder(graph, feeds), LocalMeter(feeds[:8])
    reference = refer(builder.model, evaluation, task)
    figure = reference.figure
    print(f"\n### {title}: fp32 {figure.metric} {figure.value:.2f} on {figure.n} inputs\n")
    print("| recipe | latency / fp32 | loss (points) | computing nodes in float |")
    print("|---|---:|---:|---:|")
    for recipe in (*RECIPES, *OTHERS):
        try:
            content = builder.build(recipe)
        except CannotQuantize as error:
            print(f"| {recipe.name} | - | - | {error.message} |")
            continue
        ratio = meter.ratio(content, builder.model)
        loss = evaluate(content, evaluation, task, reference).loss
        print(
            f"| {recipe.name} | {ratio:.2f} | {loss:.2f} | {len(float_nodes(content, graph))} |",
            flush=True,
        )


def main(arguments: list[str]) -> None:
    print(f"CPU: {cpu_instructions()}; one thread")
    given = [Path(one) for one in arguments if one.endswith((".onnx", ".npz"))]
    with TemporaryDirectory() as folder:
        for name in [one for one in arguments if Path(one) not in given] or (
            [] if given else ["digits", "scenes"]
        ):
            study_path = materialise(name, Path(folder) / name)
            study = read_study_file(study_path)
            model = study_path.parent / study.model
            with open_session(model) as session:
                data = open_dataset(study.data, session.inputs, study_path.parent)
            compare(name, model, data, study.task)
    for model, npz in zip(given[::2], given[1::2], strict=True):
        with open_session(model) as session:
            data = open_dataset(DataSpec(npz=npz.name), session.inputs, npz.parent)
        task: Task = "any" if data.labels is None else "classification"
        compare(model.stem, model, data, task)


if __name__ == "__main__":
    main(sys.argv[1:])
