import re
from pathlib import Path

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
links: {mobile-edge: {bandwidth: [1Mbit, 200Mbit], rtt: 5ms}}
operators: [Q, QEP]
require: {latency: p95=80ms, max_loss: 1.0}
"""


def test_ten_lines_are_a_whole_study():
    study = parse_study(TEN_LINES)
    topology = study.topology(Path(), {"CLOUD_TOKEN": "secret"})
    assert topology.names == ("mobile", "edge", "cloud")
    assert topology.tiers[0].memory_bytes == 512 * 2**20
    assert topology.tiers[2].token == "secret"
    assert study.operators.chosen == (Operator.I, Operator.Q, Operator.QEP)
    assert study.require.as_written() == {"latency": "p95=80ms", "max_loss": "1.0"}
    slow, fast = study.conditions()
    assert fast.shapes["mobile-edge"] == LinkShape(2e8, 0.005)
    assert slow.shapes["mobile-edge"].bandwidth_bit_per_s == 1e6
    # What ends at a real machine is what it is, and has no default.
    assert slow.shapes["edge-cloud"] == fast.shapes["edge-cloud"] == LinkShape()
    assert slow.id == "mobile-edge=1 Mbit/s, rtt 5 ms; edge-cloud=real network"


def test_one_line_is_enough():
    study = parse_study("model: model.onnx")
    topology = study.topology(Path(), {})
    assert topology.names == ("mobile", "edge", "cloud")
    assert study.operators.chosen == tuple(Operator)
    assert len(study.conditions()) == 1
    assert study.conditions()[0].shapes["edge-cloud"].bandwidth_bit_per_s == 1e7


def test_lists_of_rate_and_round_trip_are_crossed():
    study = parse_study(
        "model: m\n"
        "tiers: {a: {}, b: {}, c: {}}\n"
        "links: {a-b: {bandwidth: [1Mbit, 2Mbit], rtt: [0ms, 9ms]}, b-c: {rtt: [1ms, 2ms]}}"
    )
    conditions = study.conditions()
    assert len(conditions) == len({c.id for c in conditions}) == 8


def test_one_tier_has_no_links_and_one_condition():
    study = parse_study("model: m\ntiers: {edge: {cpus: 1}}")
    assert [dict(c.shapes) for c in study.conditions()] == [{}]


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
        (
            "model: m\ntiers:\n  edge: {cpus: -1}",
            3,
            "tiers.edge.cpus is -1; it must be more than 0.",
        ),
        ("model: m\ntiers:\n  e-d: {}", 2, "'e-d' cannot be a tier's name"),
        ("model: m\ntiers:\n  a: {url: 'ftp://x'}", 3, "'ftp://x' is not an address"),
        ("model: m\ntiers:\n  a: {url: 'http://x', cpus: 1}", 3, "is a real machine"),
        ("model: m\ntiers:\n  a: {ca: x.pem}", 3, "`ca` is for TLS: it needs a `url` that starts"),
        (
            "model: m\ntiers:\n  a: {url: 'http://x', client_cert: x.pem}",
            3,
            "`client_cert` is for TLS: it needs a `url` that starts with https://, which http://x",
        ),
        ("model: m\ntiers:\n  a: {url: 'https://x', client_key: k}", 3, "without `client_cert`"),
        ("model: m\ntiers: 3", 2, "tiers: 3 is not a section."),
        ("model: m\noperators: [I, X]", 2, "operators[1]: 'X' is none of I, Q, E, P"),
        ("model: m\ntask: clasification", 2, "Did you mean `classification`?"),
        ("model: m\noperators: {early_exit: {from: a}}", 2, "`from` and `to` come together"),
        ("model: m\nrequire: {latency: 80ms}", 2, "'80ms' is not a percentile and its limit"),
        ("model: m\nrequire: {latency: p95=80}", 2, "'80' is not a duration"),
        ("model: m\nrequire: {latency: mean=80ms}", 2, "'mean=80ms' is not a percentile and"),
        ("model: m\nrequire: {latency: p0=80ms}", 2, "'p0=80ms' can be met by nothing"),
        ("model: m\nrequire: {latency: p95=0ms}", 2, "'p95=0ms' can be met by nothing"),
        ("model: m\nrequire: {max_memory: 0MiB}", 2, "No strategy runs in '0MiB' of memory"),
        ("model: m\nrequire: {when: tomorrow}", 2, "'tomorrow' does not say when"),
        (
            "model: m\nrequire: {when: edge-clowd=10Mbit}",
            2,
            "`when: edge-clowd=10Mbit` is no network condition of this file. It has: mobile-edge=",
        ),
        ("model: m\nrequire: {when: edge-cloud=7Mbit}", 2, "is no network condition of this file"),
        (
            "model: m\nmeasure: {strategies: all, samples: 100}\nrequire: {latency: p99=80ms}",
            3,
            (
                "p99 needs 459 samples of a strategy (99% confidence), and at most 100 are "
                "measured. Ask for a lower percentile than p99, or set `measure: {samples: 459}`."
            ),
        ),
        (
            "model: m\nmeasure: {max_samples: 60}\nrequire: {latency: p95=80ms}",
            3,
            "p95 needs 90 samples of a strategy (99% confidence), and at most 60 are measured",
        ),
        ("model: m\nrequire: {latency: p99.999=1s}", 2, "p99.999 needs 460515 samples"),
        (
            "model: m\noperators:\n  quantize: {recipe: int3}",
            3,
            "operators.quantize.recipe: There is no recipe 'int3'. Recipes: QDQ uint8/int8 per-",
        ),
        (
            "model: m\ntiers: {a: {}, b: {url: 'http://x'}}\nlinks:\n  a-b: {rtt: 5ms}",
            3,
            "'a-b' ends at b, a real machine, and cannot be shaped",
        ),
        (
            "model: m\nlinks: {edge-cloud: {loss: 0.1}}\nmeasure: {backend: userspace}",
            3,
            "link edge-cloud asks for jitter or loss, which `backend: userspace` has not",
        ),
        ("model: m\nmeasure: {samples: many}", 2, "measure.samples: 'many' is not a whole number."),
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


@pytest.mark.parametrize(
    "text",
    [
        # Left open, a run measures as many as the percentile takes.
        "model: m\nrequire: {latency: p99=80ms}",
        "model: m\nmeasure: {strategies: all, samples: 459}\nrequire: {latency: p99=80ms}",
        "model: m\nmeasure: {arrivals: 5, samples: 90}\nrequire: {latency: p95=80ms}",
        "model: m\nrequire: {when: 'edge-cloud=10Mbit,rtt=20ms', max_memory: 1GiB}",
        "model: m\noperators: {quantize: {recipe: QDQ uint8/int8 per-channel 7-bit}}",
        "model: m\nlinks: {edge-cloud: {loss: 0.1}}",
    ],
)
def test_what_can_be_done_is_not_refused(text):
    assert parse_study(text).model == "m"


def test_several_mistakes_are_told_at_once():
    with pytest.raises(StudyFileError) as caught:
        parse_study("model: m\nlinsk: {}\ntask: x")
    assert caught.value.errors == 2
    assert "study.yaml:2" in caught.value.message
    assert "study.yaml:3" in caught.value.message


def test_a_missing_token_names_the_variable():
    study = parse_study(TEN_LINES)
    with pytest.raises(StudyFileError, match=r"CLOUD_TOKEN, which is not set.*export CLOUD_TOKEN"):
        study.topology(Path(), {})


def test_a_missing_file_and_a_binary_file_are_clear_errors(tmp_path):
    with pytest.raises(StudyFileError, match=r"no such file.*tierwise init"):
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
