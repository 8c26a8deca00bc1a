import re

import pytest

from tierwise.errors import StudyFileError
from tierwise.operators.strategy import Operator
from tierwise.study.file import StudyFile
from tierwise.study.parse import parse_study, read_study_file
from tierwise.tiers.topology import LinkShape

TEN_LINES = """\
model: model.onnx
task: classification
data: {images: images, labels: labels.csv}
tiers:
  mobile: {cpus: 0.25, memory: 512MiB}
  edge: {cpus: 0.5}
  cloud: {url: "http://10.0.0.7:8080", token_env: CLOUD_TOKEN}
links: {mobile-edge: {bandwidth: 200Mbit, rtt: 5ms}, edge-cloud: {bandwidth: [1Mbit, 10Mbit]}}
operators: [Q, QEP]
require: {latency: p95=80ms, max_loss: 1.0}
"""


def test_ten_lines_are_a_whole_study():
    study = parse_study(TEN_LINES)
    topology = study.topology({"CLOUD_TOKEN": "secret"})
    assert topology.names == ("mobile", "edge", "cloud")
    assert topology.tiers[0].memory_bytes == 512 * 2**20
    assert topology.tiers[2].token == "secret"
    assert study.operators.chosen == (Operator.I, Operator.Q, Operator.QEP)
    assert study.require.as_written() == {"latency": "p95=80ms", "max_loss": "1.0"}
    slow, fast = study.conditions(topology)
    assert slow.shapes["mobile-edge"] == LinkShape(2e8, 0.005)
    assert [c.shapes["edge-cloud"].bandwidth_bit_per_s for c in (slow, fast)] == [1e6, 1e7]


def test_one_line_is_enough():
    study = parse_study("model: model.onnx")
    topology = study.topology({})
    assert topology.names == ("mobile", "edge", "cloud")
    assert study.operators.chosen == tuple(Operator)
    assert len(study.conditions(topology)) == 1
    assert study.conditions(topology)[0].shapes["edge-cloud"].bandwidth_bit_per_s == 1e7


def test_lists_of_rate_and_round_trip_are_crossed():
    study = parse_study(
        "model: m\n"
        "tiers: {a: {}, b: {}, c: {}}\n"
        "links: {a-b: {bandwidth: [1Mbit, 2Mbit], rtt: [0ms, 9ms]}, b-c: {rtt: [1ms, 2ms]}}"
    )
    conditions = study.conditions(study.topology({}))
    assert len(conditions) == len({c.id for c in conditions}) == 8


def test_one_tier_has_no_links_and_one_condition():
    study = parse_study("model: m\ntiers: {edge: {cpus: 1}}")
    assert [dict(c.shapes) for c in study.conditions(study.topology({}))] == [{}]


def test_operators_take_options():
    study = parse_study(
        "model: m\n"
        "operators:\n"
        "  use: [E, P]\n"
        "  early_exit: {from: add_3, to: add_5}\n"
        "  partition: {cut: 0.5}\n"
    )
    assert study.operators.early_exit.from_ == "add_3"
    assert study.operators.partition.cut == "0.5"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("model: m\nbandwith: 3", 2, "no key `bandwith`"),
        ("model: m\nlinsk: {}", 2, "Did you mean `links`?"),
        ("model: m\ntiers:\n  edge: {cpu: 1}", 3, "no key `tiers.edge.cpu`. Did you mean `cpus`?"),
        (
            "model: m\nlinks:\n  mobile-edge: {bandwidth: fast}",
            3,
            (
                "links.mobile-edge.bandwidth: 'fast' is not a bandwidth. "
                "Write a number with a unit, such as 10Mbit or 1Gbit."
            ),
        ),
        ("model: m\nlinks:\n  mobile-edge: {bandwidth: 0Mbit}", 3, "lets nothing through"),
        ("model: m\nlinks:\n  mobile-edge: {rtt: 5}", 3, "'5' is not a duration"),
        ("model: m\nlinks:\n  mobile-cluod: {}", 2, "'mobile-cluod' does not join two"),
        ("model: m\ntiers:\n  edge: {memory: big}", 3, "'big' is not a size"),
        ("model: m\ntiers:\n  edge: {cpus: -1}", 3, "tiers.edge.cpus: input should be greater"),
        ("model: m\ntiers:\n  e-d: {}", 2, "'e-d' cannot be a tier's name"),
        ("model: m\ntiers:\n  a: {url: 'ftp://x'}", 3, "'ftp://x' is not an address"),
        ("model: m\ntiers:\n  a: {url: 'http://x', cpus: 1}", 3, "is a real machine"),
        ("model: m\ntiers: 3", 2, "tiers: input should be a valid dictionary, but it is 3."),
        ("model: m\noperators: [I, X]", 2, "operators[1]: 'X' is none of I, Q, E, P"),
        ("model: m\ntask: clasification", 2, "Did you mean `classification`?"),
        ("model: m\noperators: {early_exit: {from: a}}", 2, "`from` and `to` come together"),
        ("model: m\nrequire: {latency: 80ms}", 2, "'80ms' is not a percentile and its limit"),
        ("model: m\nrequire: {latency: p95=80}", 2, "'80' is not a duration"),
        ("model: m\nmeasure: {samples: many}", 2, "measure.samples: input should be a valid int"),
        ("task: any", None, "`model` is missing."),
        ("model: m\nmodel: n", 2, "`model` is there twice (first in line 1)."),
        ("model: [", 1, "study.yaml:1: "),
        ("- a", 1, "a study file is a mapping that starts with `model: model.onnx`"),
        ("", 1, "a study file is a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_is_required(text, line, message):
    with pytest.raises(StudyFileError, match=re.escape(message)) as caught:
        parse_study(text)
    assert caught.value.line == line
    if line is not None and "\n" in text:
        assert f"study.yaml:{line}: " in caught.value.message


def test_several_mistakes_are_told_at_once():
    with pytest.raises(StudyFileError) as caught:
        parse_study("model: m\nlinsk: {}\ntask: x")
    assert caught.value.errors == 2
    assert "study.yaml:2" in caught.value.message
    assert "study.yaml:3" in caught.value.message


def test_a_missing_token_names_the_variable():
    study = parse_study(TEN_LINES)
    with pytest.raises(StudyFileError, match=r"CLOUD_TOKEN, which is not set.*export CLOUD_TOKEN"):
        study.topology({})


def test_a_missing_file_and_a_binary_file_are_clear_errors(tmp_path):
    with pytest.raises(StudyFileError, match=r"No such file.*tierwise init"):
        read_study_file(tmp_path / "study.yaml")
    (tmp_path / "model.onnx").write_bytes(b"\x08\xff\xfe\x00")
    with pytest.raises(StudyFileError, match="not UTF-8"):
        read_study_file(tmp_path / "model.onnx")
    (tmp_path / "big.yaml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(StudyFileError, match="at most 1000000"):
        read_study_file(tmp_path / "big.yaml")


def test_every_field_of_the_schema_says_what_it_is():
    schema = StudyFile.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    fields = [f for section in sections for f in section.get("properties", {}).items()]
    assert len(fields) > 30
    assert [name for name, field in fields if not field.get("description")] == []
