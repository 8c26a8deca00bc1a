import io
import json
import subprocess
import sys

import pytest

from tierwise.cli.analyze import command
from tierwise.cli.terminal import terminal
from tierwise.errors import UserError

ROWS = [
    f"edge,{op},{image},{1 + shift + image % 7 / 10}"
    for op, shift in (("I", 0.0), ("Q", 0.05), ("QE", 2.0))
    for image in range(40)
]


@pytest.fixture
def latencies(tmp_path):
    path = tmp_path / "latencies.csv"
    path.write_text("tier,operator,image,seconds\n" + "\n".join(ROWS) + "\n")
    return path


def test_a_person_sees_which_groups_differ(latencies, capsys):
    command(latencies, group="tier, operator", value="seconds", block="image")
    shown = capsys.readouterr().out
    assert "Kruskal-Wallis" in shown
    assert "Friedman" in shown
    assert "large" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_json_holds_every_table_and_nothing_else(latencies, capsys):
    command(latencies, group="tier,operator", value="seconds", json=True)
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == ["summary", "omnibus", "pairwise", "notes"]
    assert shown["pairwise"][1]["b"] == "edge/QE"
    assert shown["pairwise"][1]["magnitude"] == "large"


def test_a_folder_gets_one_file_a_table(latencies, tmp_path, capsys):
    out = tmp_path / "out"
    command(latencies, group="operator", value="seconds", out=out, format="latex")
    assert sorted(path.name for path in out.iterdir()) == [
        "omnibus.tex", "pairwise.tex", "summary.tex",
    ]  # fmt: skip
    assert capsys.readouterr().out == ""


def test_bad_rows_are_counted_and_listed_where_they_may_be_left_out(latencies, tmp_path, capsys):
    with latencies.open("a") as file:
        file.write("edge,I,40,timeout\nedge,I\n")
    options = {"group": "operator", "value": "seconds", "skip_bad_rows": True}
    command(latencies, **options)
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 bad rows are left out; the first, line 122, has 'timeout' as 'seconds'." in shown
    command(latencies, **options, out=tmp_path / "out")
    assert (tmp_path / "out" / "bad_rows.csv").read_text().splitlines() == [
        "line,why,row",
        "122,has 'timeout' as 'seconds'; a finite number is needed,\"edge,I,40,timeout\"",
        '123,has 2 fields; the header has 4,"edge,I"',
    ]


def test_standard_input_is_a_file_called_hyphen(latencies, monkeypatch, tierwise):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(latencies.read_bytes())))
    code, out, _ = tierwise("analyze", "-", "--group", "operator", "--value", "seconds")
    assert code == 0
    assert "Kruskal-Wallis" in out


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(latencies, columns, monkeypatch, capsys):
    monkeypatch.setattr(terminal.out, "_width", columns)
    command(latencies, group="tier,operator", value="seconds", block="image")
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


def test_two_formats_at_once_and_a_file_for_a_folder_are_refused(latencies):
    with pytest.raises(UserError, match="two formats"):
        command(latencies, group="operator", value="seconds", json=True, format="csv")
    with pytest.raises(UserError, match=r"is a file.*-o DIR"):
        command(latencies, group="operator", value="seconds", out=latencies)


@pytest.mark.slow
def test_bad_input_exits_with_2_and_says_where(latencies):
    with latencies.open("a") as file:
        file.write("edge,I,40,soon\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tierwise", "analyze", str(latencies)),
            *("--group", "tier", "--value", "seconds"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Line 122 of latencies.csv has 'soon'" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_keep_their_place_in_a_narrow_terminal(tierwise, tmp_path, monkeypatch):
    name = "mobile-edge/QEP@stage3.stage3.0.Add.quantized"
    rows = [f"{name},{0.01 + i / 1e4}\nedge/I,{0.02 + i / 1e4}" for i in range(20)]
    (tmp_path / "samples.csv").write_text("\n".join(["strategy,seconds", *rows]) + "\n")
    shown = {}
    for columns in ("80", "120"):
        monkeypatch.setattr("tierwise.cli.terminal.terminal.out._width", int(columns))
        flags = ("--group", "strategy", "--value", "seconds")
        code, shown[columns], _ = tierwise("analyze", tmp_path / "samples.csv", *flags)
        assert code == 0
        assert max(len(line) for line in shown[columns].splitlines()) <= int(columns)
        assert name[:25] in shown[columns].split("Kruskal")[0]
    assert "All figures: a wider terminal" in shown["80"]
    assert "shapiro p" not in shown["80"]
    assert "shapiro p" in shown["120"]
