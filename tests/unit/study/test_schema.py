import re
from pathlib import Path

import pytest
import yaml

from tierwise.study.parse import parse_study
from tierwise.study.schema import study_reference, study_schema

PAGE = Path(__file__).parents[3] / "docs" / "study-file.md"


def test_the_page_is_what_the_schema_says():
    assert PAGE.read_text("utf-8") == study_reference() + "\n", (
        "run: tierwise schema --markdown > docs/study-file.md"
    )


def test_the_pages_example_is_a_study_of_ten_lines():
    examples = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (example,) = [one for one in examples if one.startswith("model:")]
    study = parse_study(example)
    assert len(example.splitlines()) <= 10
    assert len(study.conditions()) == 2


def test_every_section_is_on_the_page():
    names = {name for name, one in study_schema()["$defs"].items() if "properties" in one}
    headings = re.findall(r"^## `(.+)`$", study_reference(), re.MULTILINE)
    assert len(headings) == len(names)
    assert "links.NAME" in headings


@pytest.mark.parametrize("text", ["model: m\ndata:\n", "model: m\nmeasure:\nrequire:\n"])
def test_a_section_of_comments_only_is_its_default(text):
    assert parse_study(text) == parse_study("model: m")


def test_the_schema_accepts_one_value_where_a_list_may_stand():
    link = study_schema()["$defs"]["LinkSpec"]["properties"]["bandwidth"]
    assert [choice["type"] for choice in link["anyOf"]] == ["string", "array"]
    assert yaml.safe_load("bandwidth: 10Mbit") == {"bandwidth": "10Mbit"}
