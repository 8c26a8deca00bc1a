"""Real models with labelled data, and big architectures to measure with."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.padding import Padding
from rich.text import Text

from tierwise.cli.terminal import terminal
from tierwise.zoo.efficientnet_lite import SCALES
from tierwise.zoo.export import export as export_from_zoo
from tierwise.zoo.random_networks import ARCHITECTURES
from tierwise.zoo.subjects import subjects

app = App(name="zoo", help="Real models with labelled data, and big architectures to measure with.")


@app.command(name="list")
def list_(*, json: bool = False) -> None:
    """Show what `tierwise zoo export` can write.

    Args:
        json: Print JSON.
    """
    rows = _rows()
    if json:
        terminal.json(rows)
    else:
        _show(rows)


def _rows() -> list[dict[str, object]]:
    """What the zoo can write, by where its weights come from."""
    trained = [
        {
            "name": info.name,
            "task": info.task,
            "what": info.summary,
            "weights": "trained, comes with Tierwise",
            "quality": f"{info.metric} {info.value:.1f}",
            "images": info.images,
            "licence": info.licence,
        }
        for info in subjects()
    ]
    downloaded = [
        {
            "name": name,
            "task": "classification",
            "what": f"ImageNet at {scale.side}x{scale.side}, 1000 classes",
            "weights": "trained, needs `pip install 'tierwise[zoo]'`",
            "quality": "",
            "images": 0,
            "licence": "Apache-2.0",
        }
        for name, scale in SCALES.items()
    ]
    random = [
        {
            "name": name,
            "task": "any",
            "what": "architecture of the study (arXiv 2403.17154), 1x3x224x224",
            "weights": "random, needs --random-weights",
            "quality": "",
            "images": 0,
            "licence": "Apache-2.0",
        }
        for name in ARCHITECTURES
    ]
    return [*trained, *downloaded, *random]


def _show(rows: list[dict[str, object]]) -> None:
    heading = ""
    for row in rows:
        if row["weights"] != heading:
            heading = str(row["weights"])
            _print(f"{heading[0].upper()}{heading[1:]}:")
        # Random weights have no task: what they give can be timed, not judged.
        facts = [
            row["task"] if row["task"] != "any" else "latency only",
            row["quality"],
            f"{row['images']} images" if row["images"] else "",
        ]
        _print(f"  {row['name']:<20}{', '.join(str(fact) for fact in facts if fact)}")
        terminal.out.print(Padding(Text(str(row["what"])), (0, 0, 0, 22)))
    terminal.say("Write one with `tierwise zoo export NAME -o DIR`; licences: docs/zoo.md.")


def _print(line: str) -> None:
    # Without markup: `tierwise[zoo]` is no style.
    terminal.out.print(line, markup=False, soft_wrap=True)


@app.command
def export(
    name: str,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    random_weights: bool = False,
) -> None:
    """Write a model of the zoo with a study file, and its data where it has some.

    Args:
        name: As `tierwise zoo list` shows it.
        out: Folder to write to; left out: a folder of that name here.
        random_weights: Agree to weights that mean nothing (the study's big architectures).
    """
    study = export_from_zoo(
        name, out or Path(name), random_weights=random_weights, progress=terminal
    )
    terminal.out.print(str(study), soft_wrap=True, markup=False)
    terminal.say(f"Run it with `tierwise run {study} -o DIR`.")
