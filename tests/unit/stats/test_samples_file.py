import gzip
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from tierwise.errors import DataError, MissingExtra, UserError
from tierwise.stats.samples_file import read_samples

GOOD = "tier,op,image,seconds\nedge,I,0,1.5\nedge,I,1,2.5\nedge,Q,0,1\nedge,Q,1,3e-1\n"


def write(folder, text, name="latencies.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, group=("tier", "op"), value="seconds", block=None):
    return read_samples(path, group=group, value=value, block=block)


def test_samples_are_grouped_in_the_order_of_the_file(tmp_path):
    table = read(write(tmp_path, GOOD), block="image")
    assert table.names == ("edge/I", "edge/Q")
    np.testing.assert_array_equal(table.groups["edge", "Q"], [1.0, 0.3])
    assert table.blocks["edge", "Q"] == ["0", "1"]


def test_one_column_makes_a_group_too(tmp_path):
    assert read(write(tmp_path, GOOD), group=("op",)).names == ("I", "Q")


@pytest.mark.parametrize("name", ["latencies.csv.gz", "any-name"])
def test_gzip_is_told_by_its_content(tmp_path, name):
    assert read(write(tmp_path, gzip.compress(GOOD.encode()), name)).names == ("edge/I", "edge/Q")


def test_what_spreadsheets_write_is_read(tmp_path):
    # A byte order mark, Windows line ends, quotes, empty lines at the end.
    text = '\ufefftier,op,image,"seconds"\r\n' + GOOD.split("\n", 1)[1].replace("\n", "\r\n")
    assert read(write(tmp_path, text + "\r\n\r\n")).names == ("edge/I", "edge/Q")


def test_groups_may_be_scattered_over_a_long_file(tmp_path):
    rows = [f"edge,{'IQ'[i % 2]},{i},{i}" for i in range(5000)]
    table = read(write(tmp_path, "tier,op,image,seconds\n" + "\n".join(rows)), block="image")
    np.testing.assert_array_equal(table.groups["edge", "Q"], np.arange(1, 5000, 2))
    assert table.blocks["edge", "Q"] == [str(i) for i in range(1, 5000, 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"latencies.csv is empty\."),
        ("tier,op,image,seconds\n", "has a header but no samples below it"),
        ("tier,op,image,ms\n", "has no column 'seconds'; its columns are tier, op, image, ms"),
        ("tier;op;seconds\n", "no column 'tier'.*columns are separated by commas"),
        ("tier,op,op,seconds\n", "has 2 columns 'op'"),
        (GOOD + "edge,I,2,fast\n", "Line 6 of latencies.csv has 'fast' as 'seconds'.*finite"),
        (GOOD + "edge,I,2,\n", "Line 6 of latencies.csv has '' as 'seconds'"),
        (
            GOOD + "edge,I,2,nan\n",
            "Line 6 of latencies.csv has 'nan'.*Failed requests have no latency",
        ),
        (GOOD + "edge,I,2,-inf\n", "Line 6 of latencies.csv has '-inf'"),
        (GOOD + "\nedge,I,2\n", "Line 7 of latencies.csv has 3 fields; the header has 4"),
        (GOOD + "edge,I,2,1,5\n", "Line 6 of latencies.csv has 5 fields"),
        (GOOD + "edge,E,2,1\n", "Group 'edge/E' of latencies.csv has 1 sample; at least 2"),
        (GOOD + '"a\nb",I,2,x\n', "Line 7 of latencies.csv has 'x'"),
        (b"\xff\xfe\x00tier", "is not CSV text.*UTF-8"),
        (b"\x1f\x8bnot gzip at all", "is not CSV text"),
        (gzip.compress(GOOD.encode() * 99)[:-9], "is not CSV text"),
    ],
)
def test_bad_input_is_refused_with_its_place(tmp_path, text, message):
    with pytest.raises(DataError, match=f"(?s){message}"):
        read(write(tmp_path, text))


BAD = GOOD + "edge,I,2,fast\n" + "edge,I,2\n" * 7 + "edge,Q,2,0.5\n"


def test_every_bad_row_is_counted_and_the_first_are_named(tmp_path):
    with pytest.raises(
        DataError, match=r"Line 6 .*'fast'.* 7 more rows are bad: 7, 8, 9, 10, 11, \.\.\."
    ) as caught:
        read(write(tmp_path, BAD))
    assert "--skip-bad-rows" in str(caught.value.hint)


def test_bad_rows_are_left_out_and_listed_where_that_is_asked_for(tmp_path):
    table = read_samples(
        write(tmp_path, BAD), group=("op",), value="seconds", block="image", skip_bad_rows=True
    )
    np.testing.assert_array_equal(table.groups["Q",], [1.0, 0.3, 0.5])
    assert table.blocks["Q",] == ["0", "1", "2"]
    assert [row.line for row in table.bad_rows] == list(range(6, 14))
    assert table.bad_rows[0].text == "edge,I,2,fast"
    assert table.bad_rows[1].why == "has 3 fields; the header has 4"
    with pytest.raises(DataError, match="has a header and only bad rows below it"):
        read_samples(
            write(tmp_path, "op,seconds\nI,no\n"), group=("op",), value="seconds",
            skip_bad_rows=True,
        )  # fmt: skip


class StandardInput:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input_is_read_and_named(pack, monkeypatch):
    monkeypatch.setattr("sys.stdin", StandardInput(pack(GOOD.encode())))
    assert read(Path("-")).names == ("edge/I", "edge/Q")
    monkeypatch.setattr("sys.stdin", StandardInput(pack(BAD.encode())))
    with pytest.raises(DataError, match="Line 6 of standard input has 'fast'"):
        read(Path("-"))


def test_parquet_reads_as_the_same_samples(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    path, columns = tmp_path / "any-name", {
        "tier": ["edge"] * 5, "op": ["I", "I", "Q", "Q", "Q"], "image": [0, 1, 0, 1, 2],
        "seconds": [1.5, 2.5, 1.0, 0.3, None],
    }  # fmt: skip
    parquet.write_table(arrow.table(columns), path)
    with pytest.raises(DataError, match="Line 5 of any-name has nan as 'seconds'"):
        read(path)
    table = read_samples(
        path, group=("tier", "op"), value="seconds", block="image", skip_bad_rows=True
    )
    expected = read(write(tmp_path, GOOD), block="image")
    assert table.names == expected.names
    for key, samples in expected.groups.items():
        np.testing.assert_array_equal(table.groups[key], samples)
    assert table.blocks == expected.blocks
    assert [row.text for row in table.bad_rows] == ["edge,Q,None,2"]
    with pytest.raises(DataError, match="no column 'ms'; its columns are tier, op, image, seconds"):
        read(path, value="ms")
    with pytest.raises(DataError, match="Column 'op' of any-name holds string; numbers"):
        read(path, group=("tier",), value="op")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        read(path)


def test_parquet_without_its_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tierwise\[parquet\]'"):
        read(write(tmp_path, b"PAR1 and more"))


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"There is no file .*none\.csv"):
        read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder, not a file of samples"):
        read(tmp_path)


def test_a_column_has_one_use(tmp_path):
    with pytest.raises(UserError, match="Column 'op' is used twice"):
        read(write(tmp_path, GOOD), group=("tier", "op"), value="op")
    with pytest.raises(UserError, match="No column to group by"):
        read(write(tmp_path, GOOD), group=())
