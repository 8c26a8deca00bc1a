"""`tierwise inspect`: what a person sees and what a program reads."""

import json
import sys
from pathlib import Path

import onnx
import pytest

from tierwise.cli.app import main

RESIDUAL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[n,2,h,w] image, float[1,2,1,1] shift) => (float[n,2,h,w] y, float[n,2,h,w] middle)
<float[2,2,3,3] k = {1,0,0,0,0,0,0,0,0, 0,0,0,0,2,0,0,0,0, 0,0,0,0,3,0,0,0,0, 0,0,0,0,0,0,0,0,1}>
{
  start = Relu(image)
  c1 = Conv<pads: ints = [1,1,1,1]>(start, k)
  s1 = Add(c1, start)
  middle = Relu(s1)
  c2 = Conv<pads: ints = [1,1,1,1]>(middle, k)
  s2 = Add(c2, middle)
  a2 = Relu(s2)
  y = Add(a2, shift)
}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "residual.onnx"
    onnx.save(onnx.parser.parse_model(RESIDUAL), path)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tierwise", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, " ".join(err.split())

    return run


def test_json_has_exactly_the_documented_keys(run, model: Path) -> None:
    code, out, _ = run("inspect", model, "--json", "--input", "image=1x2x6x8")
    document = json.loads(out)
    assert code == 0
    assert [*document] == [
        "inputs", "outputs", "opset", "nodes", "parameters", "macs", "cuts", "exits",
    ]  # fmt: skip
    assert document["inputs"][0] == {
        "name": "image", "shape": [1, 2, 6, 8], "dtype": "float32", "bytes": 384,
    }  # fmt: skip
    assert (document["opset"], document["nodes"], document["parameters"]) == (17, 8, 36)
    assert document["macs"] == 2 * (2 * 6 * 8) * (2 * 9)
    assert document["cuts"][0] == {
        "id": "start-x2",
        "tensors": [
            {"name": "shift", "shape": [1, 2, 1, 1], "dtype": "float32", "bytes": 8},
            {"name": "start", "shape": [1, 2, 6, 8], "dtype": "float32", "bytes": 384},
        ],
        "wire_bytes": 392,
        "head_macs": 0,
        "tail_macs": 3456,
    }
    assert document["exits"] == [
        {"from": "start", "to": "middle", "saved_macs": 1728},
        {"from": "middle", "to": "a2", "saved_macs": 1728},
    ]


def test_the_overview_fits_eighty_columns(run, model: Path) -> None:
    code, out, err = run("inspect", model)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for text in ("residual.onnx", "image  ?x2x?x? float32", "opset", "7 valid", "2 blocks can"):
        assert text in out
    assert "Free sizes were assumed: image: 1x2x224x224." in err
    assert "--input image=1x2x224x224" in err


def test_an_option_that_is_shown_can_be_typed(run, model: Path) -> None:
    renamed = onnx.load(model)
    renamed.graph.input[0].name = renamed.graph.node[0].input[0] = "image 0"
    onnx.save(renamed, model)
    _, _, err = run("inspect", model)
    assert "Choose others: --input 'image 0=1x2x224x224'" in err


def test_lists_of_cuts_and_exits(run, model: Path) -> None:
    _, out, _ = run("inspect", model, "--cuts", "--exits")
    assert len([line for line in out.splitlines() if "-x2" in line or "-x3" in line]) == 7
    assert "50.0%" in out


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("image=1x3x6x8", "Input 'image' cannot be 1x3x6x8: the model takes ?x2x?x?."),
        ("picture=1x2x6x8", "The model has no input 'picture'."),
        ("image=big", "--input 'image=big' is not NAME=SIZES."),
    ],
)
def test_sizes_that_do_not_fit(run, model: Path, option: str, text: str) -> None:
    code, out, err = run("inspect", model, "--input", option)
    assert (code, out) == (2, "")
    assert text in err


def test_a_file_that_is_not_onnx_exits_with_2_and_no_traceback(run, tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_text("# My notes\n")
    code, out, err = run("inspect", path)
    assert (code, out) == (2, "")
    assert "ONNX" in err
    assert "Traceback" not in err
