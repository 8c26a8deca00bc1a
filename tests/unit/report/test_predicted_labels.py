"""Where the names of a chart's lines stand."""

from tierwise.report.figures.predicted import _labels


def rows_of(ends_ms):
    """Lines that fall from 20 ms to their ends."""
    return [
        {"strategy": name, "state": "predicted", "mbit_per_s": at, "p50_ms": end_ms + 20 - at}
        for name, end_ms in ends_ms.items()
        for at in range(1, 21)
    ]


def test_the_names_of_lines_that_end_together_do_not_cover_each_other():
    placed = _labels(rows_of({"a": 10.0, "b": 10.3, "c": 10.5, "d": 20.0}))
    where = {row["strategy"]: row["mbit_per_s"] for row in placed}
    assert where == {"a": 20, "b": 10, "c": 1, "d": 20}
