"""The code on the pages about operators runs as it is written."""

import re
from pathlib import Path

import numpy as np

from tierwise.graph.cuts import find_cut
from tierwise.operators.manifest import write_partition
from tierwise.operators.partition import partition
from tierwise.operators.quantize import RECIPES
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.testing.subjects import residual_classifier

DOCS = Path(__file__).parents[2] / "docs"


def python_of(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)


def test_the_chain_of_plain_onnxruntime_gives_the_whole_models_output(tmp_path):
    subject = residual_classifier(channels=4, blocks=2, size=8, count=4)
    write_partition(partition(subject.graph, [find_cut(subject.graph, 0.5)]), tmp_path)
    names = {}
    [code] = python_of("operators.md")
    exec(code, names)
    feeds = subject.evaluation.feeds(0)
    with open_session(subject.graph.model, SessionOptions()) as session:
        expected = session.run(feeds)["scores"]
    assert np.allclose(names["chain"](tmp_path, feeds)["scores"], expected, rtol=1e-4, atol=1e-6)


def test_the_example_of_a_new_operator_keeps_the_contract():
    names = {}
    for code in python_of("how-to/add-an-operator.md"):
        exec(code, names)
    names["test_rounded_weights_keep_the_contract"]()


def test_the_recipes_of_the_table_are_those_that_are_tried():
    page = (DOCS / "operators.md").read_text("utf-8")
    for recipe in RECIPES:
        assert f"| {recipe.name} |" in page
